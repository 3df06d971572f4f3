import { type Clock, isoTime } from '../../../clock.ts';
import type { ControlDatabase, Tenant, WriteSession } from '../../../db/index.ts';
import { recordPlatformEvent } from '../../audit/repository.ts';
import type { Directory } from '../../directory.ts';
import { type JobHandler, JobRefused, type JobRun } from '../../jobs/job.ts';
import type { Migrator } from '../../migrations/migrator.ts';
import { nextStatus } from '../lifecycle.ts';
import { becomeTombstone, findTenant, lockTenant } from '../repository.ts';
import { command, type Step } from '../service.ts';
import { type Certificate, type Certifier, slugDigest } from './certificate.ts';
import { type Pace, pause } from './pace.ts';
import { earlierPurge } from './repository.ts';
import { type Holding, survey } from './survey.ts';
import { deleteBatch, placeOf } from './tables.ts';

/** What the request says, in the job's input. */
export interface PurgeInput {
  deletedAt: string;
  requestedBy: string | null;
  forcedBecause: string | null;
}

/** What a run leaves to the next one. */
interface PurgeState {
  /** Rows, by place. */
  deleted?: Record<string, number>;
  certificate?: Certificate;
}

export interface PurgeParts {
  database: ControlDatabase;
  migrator: Migrator;
  clock: Clock;
  pace: Pace;
  /** Made when it is needed: commands that do not purge need no secret. */
  certifier: () => Certifier;
  directory?: Directory;
  step?: Step;
}

export const batchRows = 5000;
/**
 * A tenant has been deleted for this long before its rows are: by then every process has heard of it, or has been without
 * word for so long that it serves nobody (control/epochs.ts), and what it began before has ended (db/limits.ts).
 */
const settledMs = 30_000;

/** Deletes a tenant's rows wherever they are, proves that none is left, and leaves a tombstone and a certificate. */
export function purgeHandler(parts: PurgeParts): JobHandler {
  const { database, migrator, clock, pace, certifier, directory, step = () => undefined } = parts;

  return async function purge(run: JobRun): Promise<Certificate> {
    const { tenant, createdAt } = await requirePurging(run);
    const known = run.state as PurgeState; // as this file saved it
    if (known.certificate !== undefined) return known.certificate;
    const input = run.input as unknown as PurgeInput; // as ./service.ts made it
    const certificates = certifier();
    const earlier =
      known.deleted === undefined ? await database.read((s) => earlierPurge(s, run.id, tenant.id)) : {};
    const deleted: Record<string, number> = { ...(earlier as PurgeState).deleted, ...known.deleted };
    const progress = (total: number) => ({
      done: Object.values(deleted).reduce((sum, rows) => sum + rows, 0),
      total,
      unit: 'rows',
    });
    const save = (session: WriteSession, total: number) =>
      run.save(session, { state: { deleted }, progress: progress(total) });

    await pause(Math.max(0, Date.parse(input.deletedAt) + settledMs - clock.nowMs()), run.signal);
    const found = await survey(migrator, tenant);
    const total = progress(0).done + found.reduce((sum, { rows }) => sum + rows, 0);
    await step('purge: looked through');
    for (const holding of found.filter(({ table, rows }) => rows > 0 && !isOwn(table.schema, tenant))) {
      await empty(holding, total);
    }
    await step('purge: common tables are empty');
    run.signal.throwIfAborted();
    if (tenant.isolation === 'schema') await dropOwn(found, total);
    await step('purge: the schema is gone');
    run.signal.throwIfAborted();
    const left = await survey(migrator, tenant);
    const residues = left.filter(({ rows }) => rows > 0);
    if (residues.length > 0) {
      throw new Error(
        `Rows are left in ${residues.map(({ table }) => placeOf(table, tenant.schema)).join(', ')}`,
      );
    }
    await step('purge: nothing is left');
    const certificate = certificates.certify({
      tenantId: tenant.id,
      slugDigest: slugDigest(tenant.id, tenant.slug),
      isolation: tenant.isolation,
      createdAt,
      purgedAt: isoTime(clock.nowMs()),
      ...input,
      job: run.id,
      tables: Object.entries(deleted).map(([place, rows]) => ({ place, deleted: rows, residual: 0 })),
      tablesScanned: left.length,
    });
    await database.write(async (session) => {
      await becomeTombstone(session, tenant.id);
      const author = { actor: { ...command.actor, id: input.requestedBy ?? command.actor.id } };
      await recordPlatformEvent(session, author, {
        ...{ action: 'tenants.purged', resource: 'tenants', resourceId: tenant.id, tenantId: tenant.id },
        after: { job: run.id, tables: certificate.tables },
      });
      await run.save(session, { state: { certificate }, progress: progress(total) });
    });
    await step('purge: the tombstone is there');
    await directory?.refresh();
    return certificate;

    async function empty({ table }: Holding, of: number): Promise<void> {
      const place = placeOf(table, tenant.schema);
      for (;;) {
        run.signal.throwIfAborted();
        const startedMs = clock.monotonicMs();
        const before = deleted[place] ?? 0;
        const rows = await migrator.inSchema(tenant.schema, async (work) => {
          const session = await work.session(tenant);
          const gone = await deleteBatch(session, table, tenant.id, batchRows);
          deleted[place] = before + gone;
          await save(session, of);
          return gone;
        });
        await step(`purge: a batch of ${place} is gone`);
        if (rows < batchRows) return;
        await pace.rest(clock.monotonicMs() - startedMs, run.signal);
      }
    }

    async function dropOwn(holdings: readonly Holding[], of: number): Promise<void> {
      const own = holdings.filter(({ table }) => isOwn(table.schema, tenant));
      for (const { table, rows } of own) deleted[placeOf(table, tenant.schema)] = rows;
      await migrator.inSchema(tenant.schema, async (work) => {
        await work.dropSchema();
        await save(await work.session(), of);
      });
    }
  };

  async function requirePurging(run: JobRun): Promise<{ tenant: Tenant; createdAt: string }> {
    return database.write(async (session) => {
      const locked = run.tenant === undefined ? undefined : await lockTenant(session, run.tenant);
      const view = run.tenant === undefined ? undefined : await findTenant(session, run.tenant);
      if (locked === undefined || view === undefined) throw new JobRefused('There is no such tenant.');
      const certified = (run.state as PurgeState).certificate !== undefined;
      if (!certified && locked.status !== 'purging') throw new JobRefused(`The tenant is ${locked.status}.`);
      if (!certified) nextStatus(locked, 'completePurge');
      return { tenant: locked.tenant, createdAt: view.createdAt };
    });
  }
}

const isOwn = (schema: string, { isolation, schema: own }: Tenant) =>
  isolation === 'schema' && schema === own;
