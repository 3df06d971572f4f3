import { mkdir } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { Clock } from '../../clock.ts';
import type { Author, ControlDatabase } from '../../db/index.ts';
import { AppError, notFound } from '../../errors.ts';
import { recordPlatformEvent } from '../audit/repository.ts';
import { type JobHandler, JobRefused, type JobView } from '../jobs/job.ts';
import type { JobService } from '../jobs/service.ts';
import type { Exporter, ExportReport } from './export.ts';
import { exportToFile } from './export-file.ts';
import { requireRows } from './lifecycle.ts';
import { lockTenant } from './repository.ts';
import { command } from './service.ts';

/** Exports that nobody waits for: to a file of the process that makes them. */
export interface ExportService {
  /**
   * @param author whom the audit names; a command by default
   * @throws AppError not_found; illegal_state, also without EXPORT_DIR; job_under_way
   */
  request(slugOrId: string, author?: Author): Promise<JobView>;
}

interface ExportInput {
  slug: string;
  requestedBy: string | null;
}

/** What the job's result tells. */
export interface ExportedFile extends ExportReport {
  /** Where the file is. */
  host: string;
  file: string;
}

export function createExportService(
  { database, jobs }: { database: ControlDatabase; jobs: JobService },
  folder: string | undefined,
): ExportService {
  return {
    request: (slugOrId, author = command) =>
      database.write(async (session) => {
        const locked = await lockTenant(session, slugOrId);
        if (locked === undefined) throw notFound('There is no such tenant.');
        requireRows(locked);
        const { tenant } = locked;
        if (folder === undefined) {
          throw new AppError('illegal_state', 'EXPORT_DIR is not set: there is no place for the file.');
        }
        const requestedBy = author.actor.id === command.actor.id ? null : author.actor.id;
        const input: ExportInput = { slug: tenant.slug, requestedBy };
        const added = await jobs.add(session, { kind: 'export', tenant: tenant.id, input });
        await recordPlatformEvent(session, author, {
          ...{ action: 'tenants.export_to_file', resource: 'tenants', resourceId: tenant.id },
          ...{ tenantId: tenant.id, after: { job: added.id } },
        });
        return added;
      }),
  };
}

const tellMs = 1000;

/** Begun again it begins anew: a snapshot does not outlive its process. */
export function exportHandler(parts: {
  database: ControlDatabase;
  exporter: Exporter;
  clock: Clock;
  folder: string;
}): JobHandler {
  const { database, exporter, clock, folder } = parts;

  return async (run) => {
    const { slug, requestedBy } = run.input as unknown as ExportInput; // as it was made above
    const author = { actor: { ...command.actor, id: requestedBy ?? command.actor.id } };
    const tell = (rows: number, total: number | null) =>
      database.write((session) => run.save(session, { progress: { done: rows, total, unit: 'rows' } }));
    const lost = new AbortController();
    let toldMs = clock.monotonicMs();
    const onProgress = ({ rows }: { rows: number }) => {
      if (clock.monotonicMs() - toldMs < tellMs) return;
      toldMs = clock.monotonicMs();
      // Somebody else does the job by now, or it cannot be kept that it is done: it will be run again.
      tell(rows, null).catch((error: unknown) => lost.abort(error));
    };
    const signal = AbortSignal.any([run.signal, lost.signal]);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const file = path.join(folder, `${slug}-${run.id}.ndjson`);
    try {
      const report = await exportToFile(file, (options) =>
        exporter.exportTenant(run.tenant ?? '', { ...options, author, signal, onProgress }),
      );
      await tell(report.rows, report.rows);
      return { host: os.hostname(), file, ...report } satisfies ExportedFile;
    } catch (error) {
      const gone = error instanceof AppError && ['not_found', 'illegal_state'].includes(error.code);
      throw gone ? new JobRefused(error.message) : error;
    }
  };
}
