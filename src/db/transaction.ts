import { runBatch, type Step, type StepResult } from './batch.ts';
import { isStalePlan, isServerError, translateError } from './pg-errors.ts';
import type { Lease } from './pool.ts';
import { type Context, contextStep, type LeftBehind, leftBehindStep, type Tenant } from './scope.ts';
import { openSession, type WriteSession } from './session.ts';

/** The only BEGIN, COMMIT and ROLLBACK of the serving path. */
export interface UnitOptions extends Context {
  readonly tenant: Tenant | undefined;
  /** Statements are prepared once per connection. */
  readonly prepared: boolean;
  /** Told of the milliseconds spent waiting for PostgreSQL. */
  readonly spent: (databaseMs: number) => void;
  readonly monotonicMs: () => number;
}

const begin: Step = { text: 'begin' };
const commit: Step = { text: 'commit' };

/**
 * A unit that only reads: every statement is a transaction of its own, read only, in one round trip with its context.
 * PostgreSQL's default isolation gives each statement of a longer transaction a snapshot of its own as well, so nothing
 * is lost by it.
 */
export async function readUnit<T>(
  lease: Lease,
  options: UnitOptions,
  // Of one type with the other units; Database.read() gives its callers a ReadSession.
  fn: (session: WriteSession) => Promise<T>,
): Promise<T> {
  const context = contextStep(options, 'read');
  return runUnit(lease, options, fn, {
    async run(send, step) {
      const [before, result] = await send([context, step]);
      checkClean(lease, before);
      return rowsOf(result);
    },
  });
}

/**
 * A unit that may write: BEGIN and the context travel with its first statement. It commits when `fn` resolves and rolls
 * back when it throws.
 */
export async function writeUnit<T>(
  lease: Lease,
  options: UnitOptions,
  fn: (session: WriteSession) => Promise<T>,
): Promise<T> {
  const context = contextStep(options, 'write');
  let begun = false;
  return runUnit(lease, options, fn, {
    async run(send, step) {
      if (begun) return rowsOf((await send([step]))[0]);
      begun = true;
      const [, before, result] = await send([begin, context, step]);
      checkClean(lease, before);
      return rowsOf(result);
    },
    async succeed(send) {
      if (!begun) return;
      // COMMIT without a transaction is answered with COMMIT, as if all of the unit had been kept.
      if (lease.client.getTransactionStatus() === 'I') throw endedByItself(lease);
      const [committed, after] = await send([commit, leftBehindStep]);
      // COMMIT of a failed transaction is answered with ROLLBACK and no error: somebody swallowed one.
      if (committed?.command !== 'COMMIT') throw wentOn();
      checkClean(lease, after);
    },
    async fail(send) {
      if (begun) await rollBack(lease, send);
    },
  });
}

/** A unit of exactly one statement, which is committed in the same round trip: `fn` must not throw after it. */
export async function writeOneUnit<T>(
  lease: Lease,
  options: UnitOptions,
  fn: (session: WriteSession) => Promise<T>,
): Promise<T> {
  const context = contextStep(options, 'write');
  let sent = false;
  let kept = false;
  return runUnit(lease, options, fn, {
    async run(send, step) {
      if (sent) throw new Error('A unit of one statement sent another one');
      sent = true;
      const [, before, result, , after] = await send([begin, context, step, commit, leftBehindStep]);
      kept = true;
      checkClean(lease, before);
      checkClean(lease, after);
      return rowsOf(result);
    },
    async succeed() {
      if (sent && !kept) throw wentOn();
    },
    async fail(send) {
      if (sent) await rollBack(lease, send);
    },
  });
}

type Send = (steps: readonly Step[]) => Promise<StepResult[]>;

interface Course {
  /** Runs one statement of the unit. */
  run(send: Send, step: Step): Promise<object[]>;
  /** When the unit's function has resolved. */
  succeed?(send: Send): Promise<void>;
  /** When it has thrown, or `succeed` has. */
  fail?(send: Send): Promise<void>;
}

async function runUnit<T>(
  lease: Lease,
  options: UnitOptions,
  fn: (session: WriteSession) => Promise<T>,
  course: Course,
): Promise<T> {
  const send = sendOn(lease, options);
  const { session, close } = openSession(options.tenant, (step) => course.run(send, step));
  try {
    const value = await fn(session);
    close();
    await course.succeed?.(send);
    return value;
  } catch (error) {
    close();
    await course.fail?.(send);
    throw translateError(error);
  }
}

function sendOn(lease: Lease, { prepared, spent, monotonicMs }: UnitOptions): Send {
  return async (steps) => {
    const startedMs = monotonicMs();
    try {
      return await runBatch(lease.client, steps, prepared);
    } catch (error) {
      if (!isServerError(error)) lease.taint('the connection failed');
      if (isStalePlan(error)) lease.taint('a prepared statement is out of date');
      throw error;
    } finally {
      spent(monotonicMs() - startedMs);
    }
  };
}

/** Sent whatever the state seems to be: after an error it is known only when PostgreSQL has answered once more. */
async function rollBack(lease: Lease, send: Send): Promise<void> {
  try {
    await send([{ text: 'rollback' }]);
  } catch {
    lease.taint('the transaction could not be rolled back'); // the unit's own error is the one to report
  }
}

function checkClean(lease: Lease, answer: StepResult | undefined): void {
  const { tenant, path } = (answer?.rows[0] ?? {}) as Partial<LeftBehind>;
  lease.connection.searchPath ??= path;
  if (tenant || path !== lease.connection.searchPath) lease.taint('a session-level setting was left behind');
}

function wentOn(): Error {
  return new Error('A unit of work went on after a statement had failed');
}

function endedByItself(lease: Lease): Error {
  lease.taint('a unit of work ended its transaction');
  return new Error('A unit of work ended its transaction');
}

function rowsOf(result: StepResult | undefined): object[] {
  return result?.rows ?? [];
}
