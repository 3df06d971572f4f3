import { setTimeout as sleep } from 'node:timers/promises';
import {
  schemaName,
  type TableShape,
  type Tenant,
  tenantTables,
  type WriteSession,
} from '../../../db/index.ts';
import { AppError } from '../../../errors.ts';
import { type JobRun, JobRefused } from '../../jobs/job.ts';
import type { Migrator } from '../../migrations/migrator.ts';
import { lockTenant } from '../repository.ts';
import { addGuard, deleteSome, dropGuard, hasGuard } from './rows.ts';

/** What is put on tables and taken away again, in transactions that are short for the sake of everybody else. */

const batchRows = 5000;
/** Everybody who comes to a common table meanwhile waits for as long. */
const guardLockMs = 100;
const guardTries = 200;

/** Puts the guard on every table of a schema. @param everybody see rows.ts */
export async function guardAll(
  migrator: Migrator,
  run: JobRun,
  tenant: Tenant,
  schema: string,
  everybody: boolean,
): Promise<void> {
  for (const table of await tablesOf(migrator, schema)) {
    await withShortLock(migrator, run, async (session) => {
      await addGuard(session, tenant, schema, table, everybody);
      await run.save(session, {});
    });
  }
}

export async function unguardAll(
  migrator: Migrator,
  run: JobRun,
  tenant: Tenant,
  schema: string,
): Promise<void> {
  for (const table of await tablesOf(migrator, schema)) {
    await withShortLock(migrator, run, async (session) => {
      if (!(await hasGuard(session, tenant, schema, table))) return;
      await dropGuard(session, tenant, schema, table);
      await run.save(session, {});
    });
  }
}

/** Takes the rows of the tenant out of a schema where it is not, or the schema, when it is the tenant's own. */
export async function clear(
  migrator: Migrator,
  run: JobRun,
  tenant: Tenant,
  place: string,
): Promise<{ rows: number }> {
  if (place !== 'shared') {
    await migrator.inSchema(schemaName(place), async (work) => {
      await requireElsewhere(await work.session(), tenant, place);
      await work.dropSchema();
      await run.save(await work.session(), {});
    });
    return { rows: 0 };
  }
  let rows = 0;
  for (const table of (await tablesOf(migrator, place)).toReversed()) {
    for (let gone = batchRows; gone === batchRows; rows += gone) {
      run.signal.throwIfAborted();
      gone = await migrator.inSchema(schemaName(place), async (work) => {
        const session = await work.session(tenant);
        await requireElsewhere(session, tenant, place);
        const some = await deleteSome(session, tenant, place, table, batchRows);
        await run.save(session, {});
        return some;
      });
    }
  }
  return { rows };
}

/** Those first that others refer to; none where the schema is not there. */
export function tablesOf(migrator: Migrator, schema: string): Promise<TableShape[]> {
  const name = schemaName(schema);
  return migrator.inSchema(name, async (work) => tenantTables(await work.session(), name));
}

/** The last guard against deleting the rows that are served: the tenant is looked at, and locked, in the same transaction. */
async function requireElsewhere(session: WriteSession, { id }: Tenant, place: string): Promise<void> {
  const locked = await lockTenant(session, id);
  if (locked === undefined || locked.tenant.schema === place) {
    throw new JobRefused(`The tenant is served from ${place}: nothing is deleted there.`);
  }
}

async function withShortLock(
  migrator: Migrator,
  run: JobRun,
  fn: (session: WriteSession) => Promise<void>,
): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    run.signal.throwIfAborted();
    try {
      await migrator.inSchema(schemaName('control'), async (work) => fn(await work.session()), {
        lockTimeoutMs: guardLockMs,
      });
      return;
    } catch (error) {
      if (!isLockTimeout(error) || tries === guardTries) throw error;
    }
    // Longer than the lock was waited for: whoever queued behind it comes first.
    await sleep(guardLockMs * (1 + 2 * Math.random()));
  }
}

export function isLockTimeout(error: unknown): boolean {
  return error instanceof AppError && (error.cause as { code?: string } | undefined)?.code === '55P03';
}
