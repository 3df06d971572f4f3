import type { Clock } from '../../../clock.ts';
import {
  type Author,
  schemaName,
  type TableShape,
  type Tenant,
  tenantTables,
  type WriteSession,
} from '../../../db/index.ts';
import { recordPlatformEvent } from '../../audit/repository.ts';
import { JobLost, JobRefused, type JobRun } from '../../jobs/job.ts';
import { appliedIn } from '../../migrations/ledger.ts';
import type { Migrator, SchemaWork } from '../../migrations/migrator.ts';
import { nextStatus } from '../lifecycle.ts';
import { lockTenant } from '../repository.ts';
import type { Step } from '../service.ts';
import { clear, tablesOf } from './clearing.ts';
import { claimWork, flip, raiseFence } from './repository.ts';
import { bring, changesSince, copyBatch, countRows, dropExtra, horizonOf, type Sum, sumOf } from './rows.ts';

/** The steps of a move, each of which can be done again after a crash. */
export interface Work {
  migrator: Migrator;
  run: JobRun;
  /** As it is before the move. */
  tenant: Tenant;
  author: Author;
  from: string;
  to: string;
  isolation: Tenant['isolation'];
  step: Step;
}

export interface MoveResult {
  from: string;
  to: string;
  tables: { name: string; rows: number }[];
  passes: number;
  /** How often the fence was tried. */
  fences: number;
  /** For how long the tenant's writes were refused, the second after the flip included. */
  fenceMs: number;
}

const batchRows = 5000;
const copyIdleMs = 60_000;
/** Whoever writes for longer is not waited for: the fence comes down, and is tried again. */
const fenceLockMs = 1000;
/** A process that stands still must not keep the tenant from writing: the server ends its transaction. */
const fenceIdleMs = 5000;
/** From the flip on, as control.guard_move() has it. */
export const heldMs = 1100;

/** The target is empty, and has the migrations of the source. */
export async function prepare(work: Work): Promise<void> {
  const { migrator, run, tenant, from, to } = work;
  await clear(migrator, run, tenant, to);
  const target = schemaName(to);
  await migrator.inSchema(target, async (inTarget) => {
    if (to !== 'shared') {
      await inTarget.createSchema();
      await inTarget.climb();
    }
    const session = await inTarget.session();
    await requireSameMigrations(session, work);
    await run.save(session, {});
  });
  const total = await migrator.inSchema(schemaName(from), async (inSource) => {
    const tables = await tenantTables(await inSource.session(), schemaName(from));
    return countRows(await inSource.session(tenant), tenant, from, tables);
  });
  await migrator.inSchema(schemaName(from), async (inSource) => {
    await run.save(await inSource.session(), { progress: { done: 0, total, unit: 'rows' } });
  });
}

/**
 * All rows as one snapshot shows them, in one transaction: rows that refer to each other are copied as they belong
 * together, and what is half done is nothing.
 *
 * @returns the horizon of the snapshot
 */
export async function copyAll(work: Work): Promise<string> {
  const tables = await tablesOf(work.migrator, work.from);
  return inSnapshot(work, async (session, horizon) => {
    for (const table of tables) {
      let after: string | null = null;
      for (;;) {
        work.run.signal.throwIfAborted();
        const batch: { rows: number; last: string } | undefined = await copyBatch(
          session,
          work,
          table,
          after,
          batchRows,
        );
        if (batch === undefined) break;
        after = batch.last;
      }
      await work.step(`move: ${table.name} is copied`);
    }
    return horizon;
  });
}

/** Brings the target to one later snapshot. @param proof whether all rows are then held against each other */
export async function catchUp(
  work: Work,
  since: string,
  proof: 'proved' | 'unproved',
): Promise<{ horizon: string; rows: number }> {
  const { tenant, from, to } = work;
  const tables = await tablesOf(work.migrator, from);
  return inSnapshot(work, async (session, horizon) => {
    let rows = 0;
    for (const table of tables) {
      const { ids } = await changesSince(session, work, table, since);
      await bring(session, work, table, ids);
      rows += ids.length;
    }
    if (proof === 'unproved') return { horizon, rows };
    for (const table of tables) {
      await dropExtra(session, work, table);
      const source = await sumOf(session, tenant, from, table);
      requireSame(table.name, source, await sumOf(session, tenant, to, table));
    }
    return { horizon, rows };
  });
}

function requireSame(table: string, source: Sum, target: Sum): void {
  if (source.rows === target.rows && source.checksum === target.checksum) return;
  throw new Error(`${table} is not the same: ${source.rows} rows there, ${target.rows} here`);
}

function inSnapshot<T>(work: Work, fn: (session: WriteSession, horizon: string) => Promise<T>): Promise<T> {
  return work.migrator.inSchema(
    schemaName(work.from),
    async (inSource) => {
      const session = await inSource.session(work.tenant);
      await session.query('set transaction isolation level repeatable read');
      await requireOurs(session, work);
      return fn(session, await horizonOf(session));
    },
    { idleMs: copyIdleMs },
  );
}

/**
 * The fence, the last pass, the proof and the flip, in one transaction: whatever fails, and whenever the process dies,
 * nothing of it has been, and the tenant writes where it was.
 *
 * All rows have been held against each other at the horizon `proved`; here it is those that have changed since, and the
 * number of all.
 *
 * @throws AppError unavailable when somebody writes for too long
 */
export async function finish(
  work: Work,
  proved: string,
  done: Pick<MoveResult, 'passes' | 'fences'>,
  clock: Clock,
): Promise<MoveResult> {
  const { migrator, run, tenant, from, to, step } = work;
  const tables = await tablesOf(migrator, from);
  run.signal.throwIfAborted();
  const startedMs = clock.monotonicMs();
  return migrator.inSchema(
    schemaName(from),
    async (inSource) => {
      const session = await inSource.session(tenant);
      await requireOurs(session, work);
      await raiseFence(session, tenant.id);
      await step('move: fenced');
      await requireSameMigrations(session, work);
      const counts: MoveResult['tables'] = [];
      for (const table of tables) {
        const { ids, rows } = await changesSince(session, work, table, proved);
        await bring(session, work, table, ids);
        const source = await sumOf(session, tenant, from, table, ids);
        requireSame(table.name, source, await sumOf(session, tenant, to, table, ids));
        await requireCount(session, work, table, rows);
        counts.push({ name: table.name, rows });
      }
      await step('move: verified');
      run.signal.throwIfAborted();
      return flipTo(inSource, work, counts, done, () => clock.monotonicMs() - startedMs);
    },
    { lockTimeoutMs: fenceLockMs, idleMs: fenceIdleMs },
  );
}

async function requireCount(
  session: WriteSession,
  { tenant, to }: Work,
  table: TableShape,
  rows: number,
): Promise<void> {
  const here = await countRows(session, tenant, to, [table]);
  if (here !== rows) throw new Error(`${table.name} has ${rows} rows there, and ${here} here`);
}

async function flipTo(
  inSource: SchemaWork,
  work: Work,
  tables: MoveResult['tables'],
  done: Pick<MoveResult, 'passes' | 'fences'>,
  passedMs: () => number,
): Promise<MoveResult> {
  const { run, tenant, author, from, to, isolation } = work;
  const session = await inSource.session();
  const locked = await lockTenant(session, tenant.id);
  if (locked === undefined) throw new JobRefused('There is no such tenant.');
  const status = nextStatus(locked, 'endMove');
  await recordPlatformEvent(session, author, {
    ...{ action: 'tenants.moved', resource: 'tenants', resourceId: tenant.id, tenantId: tenant.id },
    ...{ before: { isolation: tenant.isolation }, after: { isolation, job: run.id, tables } },
  });
  const rows = tables.reduce((sum, table) => sum + table.rows, 0);
  const result = { from, to, tables, ...done, fenceMs: Math.round(passedMs() + heldMs) };
  await run.save(session, {
    state: { to, result },
    progress: { done: rows, total: rows, unit: 'rows' },
  });
  await flip(session, tenant.id, { isolation, from, to, status });
  return result;
}

/** @throws JobLost when another process is at it; JobRefused when the tenant does not move any more */
async function requireOurs(session: WriteSession, { tenant, from }: Work): Promise<void> {
  if (!(await claimWork(session, tenant.id))) throw new JobLost('Another process is at work at this move.');
  const rows = await session.query(
    `select from control.tenants where id = $1 and status = 'moving' and schema_name = $2`,
    [tenant.id, from],
  );
  if (rows.length === 0) throw new JobRefused('The tenant does not move any more.');
}

async function requireSameMigrations(session: WriteSession, { from, to }: Work): Promise<void> {
  const [source, target] = [
    await appliedIn(session, schemaName(from)),
    await appliedIn(session, schemaName(to)),
  ];
  if (source.join() === target.join()) return;
  throw new JobRefused(`${from} and ${to} have not the same migrations: migrate the fleet first.`);
}
