import { runBatch, type Step, type StepResult } from './batch.ts';
import { cancelWhenEnded, endedError } from './cancel.ts';
import type { Spent } from './observer.ts';
import {
  isCancelled,
  isServerError,
  isStalePlan,
  NotPrimary,
  remedyFor,
  translateError,
} from './pg-errors.ts';
import type { Lease } from './pool.ts';
import { type Position, parseLsn } from './position.ts';
import type { Role } from './router.ts';
import {
  afterCommitStep,
  type Context,
  contextStep,
  type LeftBehind,
  positionStep,
  type Tenant,
} from './scope.ts';
import { openSession, type WriteSession } from './session.ts';

/** The only BEGIN, COMMIT and ROLLBACK of the serving path. */
export interface UnitOptions extends Context {
  readonly tenant: Tenant | undefined;
  /** Statements are prepared once per connection. */
  readonly prepared: boolean;
  readonly monotonicMs: () => number;
  /** Tells when nobody waits for the unit any more; looked up only when a statement takes long. */
  readonly signal?: () => AbortSignal | undefined;
  /** What the server is taken for; one that says it is a standby is not read as the primary. */
  readonly role?: Role;
  /** Answers of a server that has not replayed this are thrown away. */
  readonly mustHave?: bigint | undefined;
  /** Told before anything is sent. */
  readonly sending?: () => void;
  readonly spent?: Spent | undefined;
  /** Told of the position of the server after a read: it has not shown anything newer. */
  readonly read?: (lsn: bigint) => void;
  /** Told of the position after the commit. */
  readonly committed?: (position: Position) => void;
}

export type Unit = <T>(
  lease: Lease,
  options: UnitOptions,
  fn: (session: WriteSession) => Promise<T>,
) => Promise<T>;

/** A replica has not replayed what it must have. Its answer has been thrown away. */
export class ReplicaBehind extends Error {}

const begin: Step = { text: 'begin' };
const commit: Step = { text: 'commit' };
const rollback: Step = { text: 'rollback' };

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
  const context = contextStep(options, 'read', lease.limits);
  return runUnit(lease, options, fn, {
    async run(send, step) {
      const [before, result, after] = await send([context, step, positionStep], step.name);
      checkClean(lease, before);
      checkPlace(before, options);
      options.read?.(parseLsn(placeOf(after).lsn));
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
  const context = contextStep(options, 'write', lease.limits);
  let begun = false;
  return runUnit(lease, options, fn, {
    async run(send, step) {
      if (begun) return rowsOf((await send([step], step.name))[0]);
      begun = true;
      const [, before, result] = await send([begin, context, step], step.name);
      checkClean(lease, before);
      return rowsOf(result);
    },
    async succeed(send) {
      if (!begun) return;
      // COMMIT without a transaction is answered with COMMIT, as if all of the unit had been kept.
      if (lease.client.getTransactionStatus() === 'I') throw endedByItself(lease);
      const [committed, after] = await send([commit, afterCommitStep], commit.text, 'to its end');
      // COMMIT of a failed transaction is answered with ROLLBACK and no error: somebody swallowed one.
      if (committed?.command !== 'COMMIT') throw wentOn();
      checkClean(lease, after);
      tellCommitted(options, after);
    },
    async fail(send) {
      if (begun) await rollBack(lease, send);
    },
  });
}

/**
 * A unit of exactly one statement, which is committed in the same round trip: `fn` must not throw after it. It is not
 * cancelled, for PostgreSQL takes a cancellation during COMMIT for leave not to wait for synchronous replicas; its limits
 * end it soon enough.
 */
export async function writeOneUnit<T>(
  lease: Lease,
  options: UnitOptions,
  fn: (session: WriteSession) => Promise<T>,
): Promise<T> {
  const context = contextStep(options, 'write', lease.limits);
  let sent = false;
  let kept = false;
  return runUnit(lease, options, fn, {
    async run(send, step) {
      if (sent) throw new Error('A unit of one statement sent another one');
      sent = true;
      const [, before, result, , after] = await send(
        [begin, context, step, commit, afterCommitStep],
        step.name,
        'to its end',
      );
      kept = true;
      checkClean(lease, before);
      checkClean(lease, after);
      tellCommitted(options, after);
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

/** `name` is what the round trip is for. By default it is cancelled when nobody waits any more. */
type Send = (
  steps: readonly Step[],
  name: string | undefined,
  patience?: 'to its end',
) => Promise<StepResult[]>;

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

const noSignal = () => undefined;

function sendOn(
  lease: Lease,
  { prepared, sending, spent, monotonicMs, signal = noSignal }: UnitOptions,
): Send {
  return async (steps, name = '', patience) => {
    sending?.();
    const startedMs = monotonicMs();
    const watch = patience === undefined ? cancelWhenEnded(lease.client, signal) : undefined;
    let failure: unknown;
    try {
      return await runBatch(lease.client, steps, prepared);
    } catch (error) {
      failure = error;
      if (watch?.asked() && isCancelled(error)) throw endedError(signal(), error);
      // PostgreSQL's last words come before the connection ends; who took it in between would be lost with it.
      if (!isServerError(error) || remedyFor(error, 'primary') === 'node-lost') {
        lease.taint('the connection failed');
      }
      if (isStalePlan(error)) lease.taint('a prepared statement is out of date');
      throw error;
    } finally {
      if (watch?.asked()) lease.taint('its statement has been cancelled');
      await watch?.stop();
      spent?.(monotonicMs() - startedMs, name, failure);
    }
  };
}

/** Sent whatever the state seems to be: after an error it is known only when PostgreSQL has answered once more. */
async function rollBack(lease: Lease, send: Send): Promise<void> {
  // The connection is destroyed, and the transaction with it. Where nothing answers, the wait would be a second time-out.
  if (lease.tainted) return;
  try {
    await send([rollback], rollback.text);
  } catch {
    lease.taint('the transaction could not be rolled back'); // the unit's own error is the one to report
  }
}

function checkClean(lease: Lease, answer: StepResult | undefined): void {
  const { tenant, path } = (answer?.rows[0] ?? {}) as Partial<LeftBehind>;
  lease.connection.searchPath ??= path;
  if (tenant || path !== lease.connection.searchPath) lease.taint('a session-level setting was left behind');
}

interface PlaceRow {
  lsn: string;
  standby?: boolean;
  timeline?: number;
}

function placeOf(answer: StepResult | undefined): PlaceRow {
  const row = answer?.rows[0];
  if (row === undefined) throw new Error('PostgreSQL did not say where it is');
  return row as unknown as PlaceRow; // what the context, position and commit steps select
}

function checkPlace(answer: StepResult | undefined, { role, mustHave }: UnitOptions): void {
  const { lsn, standby } = placeOf(answer);
  if (role === 'primary' && standby === true) throw new NotPrimary('the server is a standby');
  if (mustHave !== undefined && parseLsn(lsn) < mustHave) throw new ReplicaBehind();
}

function tellCommitted({ committed }: UnitOptions, answer: StepResult | undefined): void {
  const { lsn, timeline = 0 } = placeOf(answer);
  committed?.({ lsn: parseLsn(lsn), timeline });
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
