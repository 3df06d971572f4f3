import { type Clock, isoTime } from '../../../clock.ts';
import { type Author, type ControlDatabase, schemaOf, tenantId } from '../../../db/index.ts';
import { AppError, notFound } from '../../../errors.ts';
import { recordPlatformEvent } from '../../audit/repository.ts';
import type { Directory } from '../../directory.ts';
import type { JobView } from '../../jobs/job.ts';
import type { JobService } from '../../jobs/service.ts';
import type { Migrator } from '../../migrations/migrator.ts';
import { findLeft } from '../move/repository.ts';
import { findTenant, updateStatus } from '../repository.ts';
import type { PurgeTenant } from '../schema.ts';
import { command, requireTenant } from '../service.ts';
import type { Certifier } from './certificate.ts';
import type { PurgeInput } from './job.ts';
import { deletionOfEarlier, otherJob } from './repository.ts';
import { survey } from './survey.ts';
import { placeOf } from './tables.ts';

export interface PurgeEstimate {
  tables: { place: string; rows: number; bytes: number }[];
  rows: number;
  bytes: number;
}

export interface PurgeService {
  /** What a purge would delete now, of a tenant in any state. @throws AppError not_found */
  estimate(slugOrId: string): Promise<PurgeEstimate>;
  /**
   * From here on there is no way back. Asked for again, a purge that has failed or was cancelled goes on.
   *
   * @param author whom the audit and the certificate name; a command by default
   * @throws AppError not_found, illegal_state, legal_hold, retention, job_under_way
   */
  request(slugOrId: string, input: PurgeTenant, author?: Author): Promise<JobView>;
  /** What is wrong with a certificate, in words: it, or what it says of this database. Empty: nothing is. */
  verify(certificate: unknown): Promise<string[]>;
}

export interface PurgeServiceParts {
  database: ControlDatabase;
  migrator: Migrator;
  jobs: JobService;
  clock: Clock;
  retentionDays: number;
  certifier: () => Certifier;
  directory?: Directory;
}

const dayMs = 86_400_000;

export function createPurgeService(parts: PurgeServiceParts): PurgeService {
  const { database, migrator, jobs, clock, retentionDays, certifier, directory } = parts;

  function requireRetained(statusSince: string): void {
    const endMs = Date.parse(statusSince) + retentionDays * dayMs;
    if (endMs <= clock.nowMs()) return;
    throw new AppError(
      'retention',
      `The tenant is retained until ${isoTime(endMs)}; force, with a reason, does not wait.`,
    );
  }

  return {
    async estimate(slugOrId) {
      const view = await database.read((session) => findTenant(session, slugOrId));
      if (view === undefined) throw notFound('There is no such tenant.');
      // A tombstone has no schema any more.
      const own = schemaOf(view.status === 'purged' ? 'shared' : view.isolation, view.slug);
      const found = (await survey(migrator, { id: tenantId(view.id) })).filter(({ rows }) => rows > 0);
      return {
        tables: found.map(({ table, rows, bytes }) => ({
          place: placeOf(table, own),
          rows,
          bytes,
        })),
        rows: found.reduce((sum, { rows }) => sum + rows, 0),
        bytes: found.reduce((sum, { bytes }) => sum + bytes, 0),
      };
    },

    async request(slugOrId, { force, reason }, author = command) {
      const job = await database.write(async (session) => {
        const { tenant, status, statusSince, legalHold, next } = await requireTenant(
          session,
          slugOrId,
          'purge',
        );
        if (legalHold !== null) {
          throw new AppError('legal_hold', `The tenant is under a legal hold: ${legalHold}`);
        }
        const other = await otherJob(session, tenant.id);
        if (other !== undefined)
          throw new AppError('job_under_way', `A job is at work for the tenant: ${other}.`);
        if ((await findLeft(session, tenant.id)).movedFrom !== null) {
          throw new AppError('illegal_state', 'The last move of the tenant has not been confirmed.');
        }
        if (status === 'deleted') {
          if (!force) requireRetained(statusSince);
          await updateStatus(session, tenant.id, next, null);
        }
        const input: PurgeInput = {
          deletedAt: (await deletionOfEarlier(session, tenant.id)) ?? statusSince,
          requestedBy: author.actor.id === command.actor.id ? null : author.actor.id,
          forcedBecause: force ? (reason ?? '') : null,
        };
        const added = await jobs.add(session, { kind: 'purge', tenant: tenant.id, input });
        await recordPlatformEvent(session, author, {
          ...{ action: 'tenants.purge', resource: 'tenants', resourceId: tenant.id, tenantId: tenant.id },
          ...{ before: { status }, after: { status: next, job: added.id, force, reason } },
        });
        return added;
      });
      await directory?.refresh();
      return job;
    },

    async verify(given) {
      const certificate = certifier().check(given);
      if (typeof certificate === 'string') return [certificate];
      const view = await database.read((session) => findTenant(session, certificate.tenantId));
      const left = (await survey(migrator, { id: tenantId(certificate.tenantId) })).filter(
        ({ rows }) => rows > 0,
      );
      return [
        ...(view !== undefined && view.status !== 'purged'
          ? [`The tenant is ${view.status}, not purged.`]
          : []),
        ...left.map(({ table, rows }) => `${table.schema}.${table.name} holds ${rows} rows of the tenant.`),
      ];
    },
  };
}
