import { type Clock, isoTime } from '../../../clock.ts';
import {
  type ControlDatabase,
  schemaName,
  type Tenant,
  tenantId,
  type WriteSession,
} from '../../../db/index.ts';
import type { JobHandler } from '../../jobs/job.ts';
import type { JobService } from '../../jobs/service.ts';
import type { Migrator } from '../../migrations/migrator.ts';
import type { Pace } from '../purge/pace.ts';
import { deleteExpired, findDeletableTables } from './tables.ts';

/**
 * Rows that were deleted can be brought back for a while; then they go for good, once a day and a few at a time. Tenants
 * under a legal hold keep theirs, and so do those that are deleted or being moved.
 */
export interface Retention {
  /** To be called every few seconds, by any number of processes: asks for the day's job where nobody has. */
  tend(): Promise<void>;
}

interface RetentionState {
  /** All tenants up to this one have been looked after. */
  done?: string;
  /** Rows that are gone, by table. */
  deleted?: Record<string, number>;
}

export interface RetentionParts {
  database: ControlDatabase;
  jobs: JobService;
  /** Days; 0: rows are kept. */
  days: number;
  clock: Clock;
}

const kind = 'retention';
const lookAgainMs = 60_000;
const dayMs = 86_400_000;

export function createRetention({ database, jobs, days, clock }: RetentionParts): Retention {
  let lookedMs = -Infinity;
  return {
    async tend() {
      if (days === 0 || clock.monotonicMs() - lookedMs < lookAgainMs) return;
      lookedMs = clock.monotonicMs();
      await database.write(async (session) => {
        if (await isDue(session, days)) await jobs.add(session, { kind, tenant: null, input: { days } });
      });
    },
  };
}

/** Whether there has been none for a day, and there may be rows that are old enough. One process is told so. */
async function isDue(session: WriteSession, days: number): Promise<boolean> {
  const [row] = await session.query<{ due: boolean }>(
    `select pg_try_advisory_xact_lock(hashtextextended('tenantry retention', 0))
       and not exists (select from control.jobs where kind = $1 and created_at > now() - interval '1 day')
       and exists (select from control.tenants where created_at < now() - $2 * interval '1 day') as due`,
    [kind, days],
  );
  return row?.due === true;
}

export interface RetentionHandlerParts {
  database: ControlDatabase;
  migrator: Pick<Migrator, 'inSchema'>;
  clock: Clock;
  pace: Pace;
  /** Rows at a time; default 1,000. */
  batchRows?: number;
}

/** @returns the job's result: the rows that are gone, by table */
export function retentionHandler(parts: RetentionHandlerParts): JobHandler {
  const { database, migrator, clock, pace, batchRows = 1000 } = parts;

  return async function expire(run) {
    const { days } = run.input as { days: number }; // as tend() made it
    const { done = '', deleted = {} } = run.state as RetentionState;
    const before = isoTime(clock.nowMs() - days * dayMs);
    const count = () => Object.values(deleted).reduce((sum, rows) => sum + rows, 0);
    const progress = () => ({ done: count(), total: null, unit: 'rows' });

    async function lookAfter(tenant: Tenant): Promise<void> {
      const tables = await database.read((session) => findDeletableTables(session, tenant.schema));
      for (const table of tables) {
        let rows = batchRows;
        while (rows === batchRows) {
          run.signal.throwIfAborted();
          const startedMs = clock.monotonicMs();
          rows = await migrator.inSchema(tenant.schema, async (work) => {
            const session = await work.session(tenant);
            if (!(await isStill(session, tenant))) return 0;
            const gone = await deleteExpired(session, table, { tenant: tenant.id, before, batchRows });
            if (gone > 0) {
              deleted[table.name] = (deleted[table.name] ?? 0) + gone;
              await run.save(session, { state: { done: last, deleted }, progress: progress() });
            }
            return gone;
          });
          if (rows > 0) await pace.rest(clock.monotonicMs() - startedMs, run.signal);
        }
      }
    }

    let last = done;
    for (const tenant of await database.read((session) => tenantsAfter(session, done, before))) {
      await lookAfter(tenant);
      last = tenant.id;
    }
    await database.write((session) =>
      run.save(session, { state: { done: last, deleted }, progress: progress() }),
    );
    return { before, deleted };
  };
}

const keepsNothing = `status in ('active', 'suspended') and legal_hold is null and moved_from is null`;

async function tenantsAfter(
  session: Parameters<typeof findDeletableTables>[0],
  done: string,
  before: string,
): Promise<Tenant[]> {
  const rows = await session.query<{
    id: string;
    slug: string;
    isolation: Tenant['isolation'];
    schema: string;
  }>(
    `select id, slug, isolation, schema_name as schema from control.tenants
     where ${keepsNothing} and created_at < $2 and ($1 = '' or id > nullif($1, '')::uuid) order by id`,
    [done, before],
  );
  return rows.map(({ id, schema, ...tenant }) => ({
    ...tenant,
    id: tenantId(id),
    schema: schemaName(schema),
  }));
}

/** Until the transaction ends nothing becomes of the tenant that would keep its rows. */
async function isStill(session: WriteSession, { id, schema }: Tenant): Promise<boolean> {
  const rows = await session.query(
    `select from control.tenants where id = $1 and schema_name = $2 and ${keepsNothing} for share`,
    [id, schema],
  );
  return rows.length > 0;
}
