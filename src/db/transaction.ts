import type { QueryResult } from 'pg';
import type { Lease } from './pool.ts';
import { type LeftBehind, leftBehind, type Tenant } from './scope.ts';
import { openSession, type WriteSession } from './session.ts';
import { isStalePlan, translateError } from './pg-errors.ts';

/** The only BEGIN, COMMIT and ROLLBACK of the serving path. */
export interface UnitOptions {
  mode: 'read only' | 'read write';
  /** Statements of db/scope.ts; they travel in the same message as BEGIN. */
  context: string;
  tenant: Tenant | undefined;
  prepared: boolean;
  /** Told of the milliseconds spent waiting for PostgreSQL. */
  spent: (databaseMs: number) => void;
  monotonicMs: () => number;
}

/**
 * Runs `fn` in one transaction. It commits when `fn` resolves and rolls back when it throws; the connection is tainted
 * when it cannot be shown to be clean afterwards.
 */
export async function runUnit<T>(
  lease: Lease,
  options: UnitOptions,
  fn: (session: WriteSession) => Promise<T>,
): Promise<T> {
  const { client } = lease;
  const timed = timer(options);
  const { session, close } = openSession({ ...options, client, timed });
  try {
    await timed(() => client.query(`begin ${options.mode}; ${options.context}`));
    const value = await withinTransaction(lease, () => fn(session));
    close();
    await timed(() => commit(lease));
    return value;
  } catch (error) {
    close();
    await timed(() => rollback(lease));
    if (isStalePlan((error as Error).cause)) lease.taint('a prepared statement is out of date');
    throw translateError(error);
  }
}

/** A unit that ended its transaction by itself may have set anything since, and for the whole session. */
async function withinTransaction<T>(lease: Lease, fn: () => Promise<T>): Promise<T> {
  try {
    return await fn();
  } finally {
    if (lease.client.getTransactionStatus() === 'I') lease.taint('a unit of work ended its transaction');
  }
}

/**
 * Commits and, in the same message, asks what the transaction left behind on the connection (a session-level SET
 * outlives COMMIT).
 */
async function commit(lease: Lease): Promise<void> {
  // COMMIT without a transaction is answered with COMMIT, as if all of the unit had been kept.
  if (lease.client.getTransactionStatus() === 'I') throw new Error('A unit of work ended its transaction');
  const answer: unknown = await lease.client.query(`commit; ${leftBehind}`);
  const [committed, left] = answer as [QueryResult, QueryResult<LeftBehind>];
  // COMMIT of a failed transaction is answered with ROLLBACK and no error: somebody swallowed one.
  if (committed.command !== 'COMMIT') throw new Error('A unit of work went on after a statement had failed');
  const state = left.rows[0];
  if (state?.tenant || state?.path !== lease.searchPath)
    lease.taint('a session-level setting was left behind');
}

async function rollback(lease: Lease): Promise<void> {
  if (lease.client.getTransactionStatus() === 'I') return;
  try {
    await lease.client.query('rollback');
  } catch {
    lease.taint('the transaction could not be rolled back'); // the unit's own error is the one to report
  }
}

function timer({ spent, monotonicMs }: UnitOptions): <T>(statement: () => Promise<T>) => Promise<T> {
  return async (statement) => {
    const startedMs = monotonicMs();
    try {
      return await statement();
    } finally {
      spent(monotonicMs() - startedMs);
    }
  };
}
