import { constant, runBatch, type Step, type StepResult } from './batch.ts';
import { endedError } from './cancel.ts';
import type { Spent } from './observer.ts';
import { isCancelled, translateError } from './pg-errors.ts';
import type { Lease } from './pool.ts';
import { type Position, parseLsn } from './position.ts';
import { RoundTrip } from './round-trip.ts';
import type { RoundTrips } from './round-trips.ts';
import type { Role } from './router.ts';
import {
  afterCommitStep,
  type Author,
  type Context,
  contextStep,
  positionStep,
  type Tenant,
} from './scope.ts';
import { Session, type WriteSession } from './session.ts';
import { checkClean, checkPlace, placeOf, rowsOf, tellCommitted } from './unit-answers.ts';

/** The only BEGIN, COMMIT and ROLLBACK of the serving path. */
export interface UnitOptions extends Context {
  readonly tenant: Tenant | undefined;
  /** Who works; nobody in particular by default. */
  readonly author?: Author;
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
  readonly sending?: (() => void) | undefined;
  readonly spent?: Spent | undefined;
  /** Told of the position of the server after a read: it has not shown anything newer. */
  readonly read?: ((lsn: bigint) => void) | undefined;
  /** Told of the position after the commit; undefined when the connection was lost before it could be told. */
  readonly committed?: ((position: Position | undefined) => void) | undefined;
}

export type Unit = <T>(
  lease: Lease,
  options: UnitOptions,
  fn: (session: WriteSession) => Promise<T>,
) => Promise<T>;

const begin = constant('begin', 'begin');
const commit = constant('commit', 'commit');
const rollback = constant('rollback', 'rollback');
const mark = constant('mark', 'savepoint part');
const unmark = constant('unmark', 'release part');
const backToMark = constant('back to mark', 'rollback to part');
const afterCommit: readonly Step[] = [afterCommitStep];

/**
 * A unit that only reads: every statement is a transaction of its own, read only, in one round trip with its context.
 * PostgreSQL's default isolation gives each statement of a longer transaction a snapshot of its own as well, so nothing
 * is lost by it.
 */
export const readUnit: Unit = (lease, options, fn) => runUnit(new Read(lease, options), fn);

/**
 * A unit that may write: BEGIN and the context travel with its first statement. It commits when `fn` resolves and rolls
 * back when it throws.
 */
export const writeUnit: Unit = (lease, options, fn) => runUnit(new Write(lease, options), fn);

/**
 * A unit of exactly one statement, which is committed in the same round trip: `fn` must not throw after it. It is not
 * cancelled, for PostgreSQL takes a cancellation during COMMIT for leave not to wait for synchronous replicas; its limits
 * end it soon enough.
 */
export const writeOneUnit: Unit = (lease, options, fn) => runUnit(new WriteOne(lease, options), fn);

/**
 * The same on connections that are shared with others: each statement of a unit that reads, and a unit of one statement,
 * are a transaction of one round trip.
 */
export function sharedUnit<T>(
  unit: Unit,
  trips: RoundTrips,
  options: UnitOptions,
  fn: (session: WriteSession) => Promise<T>,
): Promise<T> {
  return runUnit(unit === readUnit ? new SharedRead(trips, options) : new SharedWriteOne(trips, options), fn);
}

async function runUnit<T>(unit: Session & Ending, fn: (session: WriteSession) => Promise<T>): Promise<T> {
  try {
    const value = await fn(unit.own);
    unit.close();
    if (unit.succeed !== undefined) await unit.succeed();
    return value;
  } catch (error) {
    unit.close();
    await unit.fail?.();
    throw translateError(error);
  }
}

/**
 * A part of a unit of several statements that can fail without the rest: what `fn` throws undoes what it has written, and is
 * thrown. Costs a round trip when it fails, and none when it does not. Parts do not lie within each other.
 */
export function attempt<T>(session: WriteSession, fn: () => Promise<T>): Promise<T> {
  if (!(session instanceof Write)) throw new Error('Only a unit of several statements has parts');
  return session.attempt(fn);
}

interface Ending {
  /** When the unit's function has resolved. */
  succeed?(): Promise<void>;
  /** When it has thrown, or `succeed` has. */
  fail?(): Promise<void>;
}

abstract class UnitOfWork extends Session implements Ending {
  protected readonly lease: Lease;
  protected readonly options: UnitOptions;

  constructor(lease: Lease, options: UnitOptions) {
    super(options.tenant, options.author);
    this.lease = lease;
    this.options = options;
  }

  succeed?(): Promise<void>;
  fail?(): Promise<void>;

  /**
   * One round trip.
   *
   * @param name what it is for
   * @param patience by default it is cancelled when nobody waits any more
   */
  protected async send(steps: readonly Step[], name = '', patience?: 'to its end'): Promise<StepResult[]> {
    const { lease, options } = this;
    const { monotonicMs, signal = noSignal } = options;
    options.sending?.();
    const startedMs = monotonicMs();
    lease.watch.begin(patience === undefined ? signal : noSignal);
    let failure: unknown;
    try {
      return await runBatch(lease.client, steps, options.prepared);
    } catch (error) {
      failure = error;
      if (lease.watch.asked && isCancelled(error)) throw endedError(signal(), error);
      lease.taintBy(error);
      throw error;
    } finally {
      const cancelling = lease.watch.end();
      if (cancelling !== undefined) {
        lease.taint('its statement has been cancelled');
        await cancelling;
      }
      options.spent?.(monotonicMs() - startedMs, name, failure);
    }
  }

  /** Sent whatever the state seems to be: after an error it is known only when PostgreSQL has answered once more. */
  protected async rollBack(): Promise<void> {
    // The connection is destroyed, and the transaction with it. Where nothing answers, the wait would be a second time-out.
    if (this.lease.tainted) return;
    try {
      await this.send([rollback], rollback.text);
    } catch {
      this.lease.taint('the transaction could not be rolled back'); // the unit's own error is the one to report
    }
  }
}

class Read extends UnitOfWork {
  protected async run(step: Step): Promise<object[]> {
    const { lease, options } = this;
    const context = contextStep(options, 'read', lease.limits);
    const [before, result, after] = await this.send([context, step, positionStep], step.name);
    checkClean(lease, before);
    checkPlace(before, options);
    options.read?.(parseLsn(placeOf(after).lsn));
    return rowsOf(result);
  }
}

/** What is done in one round trip, on a connection that is shared. */
abstract class SharedUnit extends Session {
  protected readonly options: UnitOptions;
  readonly #trips: RoundTrips;

  constructor(trips: RoundTrips, options: UnitOptions) {
    super(options.tenant, options.author);
    this.options = options;
    this.#trips = trips;
  }

  protected async send(
    steps: readonly Step[],
    afterwards: readonly Step[] | undefined,
    signal: () => AbortSignal | undefined,
    name = '',
  ): Promise<StepResult[]> {
    const { monotonicMs, sending, spent } = this.options;
    let startedMs: number | undefined;
    let failure: unknown;
    const started = () => {
      startedMs = monotonicMs();
      sending?.();
    };
    try {
      return await this.#trips.make(new RoundTrip(steps, afterwards, signal, started, checkFirst));
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      if (startedMs !== undefined) spent?.(monotonicMs() - startedMs, name, failure);
    }
  }
}

class SharedRead extends SharedUnit {
  protected async run(step: Step): Promise<object[]> {
    const { options } = this;
    const { signal = noSignal } = options;
    const steps = [contextStep(options, 'read'), step, positionStep];
    const [before, result, after] = await this.send(steps, undefined, signal, step.name);
    checkPlace(before, options);
    options.read?.(parseLsn(placeOf(after).lsn));
    return rowsOf(result);
  }
}

class SharedWriteOne extends SharedUnit {
  #sent = false;
  #kept = false;

  protected async run(step: Step): Promise<object[]> {
    if (this.#sent) throw new Error('A unit of one statement sent another one');
    this.#sent = true;
    const { options } = this;
    const steps = [contextStep(options, 'write'), step];
    const [, result, after] = await this.send(steps, afterCommit, noSignal, step.name);
    this.#kept = true;
    tellCommitted(options, after);
    return rowsOf(result);
  }

  async succeed(): Promise<void> {
    if (this.#sent && !this.#kept) throw wentOn();
  }
}

function checkFirst(lease: Lease, [before]: readonly StepResult[]): void {
  checkClean(lease, before);
}

class Write extends UnitOfWork {
  #begun = false;
  /** To be sent with the next statement. */
  #ahead: readonly Step[] = [];
  /** A part has begun, which a later one takes the place of. */
  #marked = false;

  protected async run(step: Step): Promise<object[]> {
    const ahead = this.#ahead;
    this.#ahead = [];
    if (this.#begun) {
      this.#marked ||= ahead.length > 0;
      return rowsOf((await this.send([...ahead, step], step.name)).at(-1));
    }
    this.#begun = true;
    this.#marked = ahead.length > 0;
    const context = contextStep(this.options, 'write', this.lease.limits);
    const results = await this.send([begin, context, ...ahead, step], step.name);
    checkClean(this.lease, results[1]);
    return rowsOf(results.at(-1));
  }

  async attempt<T>(fn: () => Promise<T>): Promise<T> {
    this.#ahead = this.#marked ? [unmark, mark] : [mark];
    try {
      return await fn();
    } catch (error) {
      // Of a connection that is lost nothing is kept anyway.
      if (this.#marked && !this.lease.tainted) await this.send([backToMark], backToMark.text);
      throw error;
    } finally {
      this.#ahead = [];
    }
  }

  override async succeed(): Promise<void> {
    if (!this.#begun) return;
    const { lease } = this;
    // COMMIT without a transaction is answered with COMMIT, as if all of the unit had been kept.
    if (lease.client.getTransactionStatus() === 'I') throw endedByItself(lease);
    const [committed, after] = await this.send([commit, afterCommitStep], commit.text, 'to its end');
    // COMMIT of a failed transaction is answered with ROLLBACK and no error: somebody swallowed one.
    if (committed?.command !== 'COMMIT') throw wentOn();
    checkClean(lease, after);
    tellCommitted(this.options, after);
  }

  override async fail(): Promise<void> {
    if (this.#begun) await this.rollBack();
  }
}

class WriteOne extends UnitOfWork {
  #sent = false;
  #kept = false;

  protected async run(step: Step): Promise<object[]> {
    if (this.#sent) throw new Error('A unit of one statement sent another one');
    this.#sent = true;
    const { lease, options } = this;
    const context = contextStep(options, 'write', lease.limits);
    const steps = [begin, context, step, commit, afterCommitStep];
    const [, before, result, , after] = await this.send(steps, step.name, 'to its end');
    this.#kept = true;
    checkClean(lease, before);
    checkClean(lease, after);
    tellCommitted(options, after);
    return rowsOf(result);
  }

  override async succeed(): Promise<void> {
    if (this.#sent && !this.#kept) throw wentOn();
  }

  override async fail(): Promise<void> {
    if (this.#sent) await this.rollBack();
  }
}

const noSignal = () => undefined;

function wentOn(): Error {
  return new Error('A unit of work went on after a statement had failed');
}

function endedByItself(lease: Lease): Error {
  lease.taint('a unit of work ended its transaction');
  return new Error('A unit of work ended its transaction');
}
