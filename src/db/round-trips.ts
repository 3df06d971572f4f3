import { type Car, isQuick, noteDuration, quickMs, runTrain, type Step, type StepResult } from './batch.ts';
import { endedError, graceMs } from './cancel.ts';
import { Displaced, isCancelled } from './pg-errors.ts';
import type { Lease } from './pool.ts';
import type { RoundTrip } from './round-trip.ts';
import { togetherSteps } from './scope.ts';

/**
 * Transactions of one round trip, on connections that they share: nobody needs one for longer than that. Quick reads that
 * arrive in the same turn of the event loop travel together, in one write, for most of what a read costs is waking
 * PostgreSQL up and being woken by it. Writes that do so are one transaction, for most of what a small write costs is its
 * commit; when it fails, each of them is made again alone.
 */
export interface RoundTrips {
  /**
   * Resolves with the answers to all steps.
   *
   * @throws what PostgreSQL or the driver raises, what a pool raises when there is no connection, or what the signal was
   *   aborted with
   */
  make(trip: RoundTrip): Promise<StepResult[]>;
  /** Gives up a connection that nobody uses at this moment. */
  spare(): Lease | undefined;
  /** Connections that nobody uses, and trips that wait, those for which one is being asked for apart. */
  figures(): { idle: number; waiting: number };
  /** Connections are given back: at once, or when they have answered. */
  end(): void;
}

export interface RoundTripsOptions {
  /** Connections at most. */
  max: number;
  /** Trips that wait at most. */
  maxWaiting: number;
  /** How long one waits at most, milliseconds. */
  acquireMs: number;
  lend: () => Promise<Lease>;
  giveBack: (lease: Lease) => void;
  /** How many wait for a connection of the pool, with us. */
  queued: () => number;
}

/** A connection, and what has been sent on it and not been answered. */
interface Carrier {
  readonly lease: Lease;
  readonly sinceMs: number;
  train: RoundTrip[];
}

/** Trips that travel together at most: the last of them waits for all. */
export const trainLength = 4;
/** Writes at most that are one transaction. Measured with 1, 4, 6 and 8: bench/README.md. */
const groupSize = 8;
/** Those that usually take longer are none with others. Their commit has to wait for the disk. */
const quickWriteMs = 50;
/** None are for so long after one has failed: whoever fails often costs the others little. */
const apartMs = 100;
/** After this a connection goes back to the pool, which may think that it is old enough, milliseconds. */
const keepMs = 5000;
const roundMs = 100;

export function createRoundTrips(options: RoundTripsOptions): RoundTrips {
  const { max, maxWaiting, acquireMs } = options;
  const waiting: RoundTrip[] = [];
  const carriers = new Set<Carrier>();
  const answered: { trip: RoundTrip; failure: Error | null; results: StepResult[] }[] = [];
  const idle: Carrier[] = [];
  let lending = 0;
  let apartUntilMs = 0;
  let dispatching = false;
  let ended = false;
  let rounds: NodeJS.Timeout | undefined;

  function dispatchSoon(): void {
    if (!dispatching) setImmediate(dispatch); // by then all that arrives in this turn of the event loop is there
    dispatching = true;
  }

  function dispatch(): void {
    dispatching = false;
    answer();
    dropAbandoned();
    while (waiting.length > 0 && idle.length > 0) {
      const carrier = idle.pop();
      if (carrier !== undefined) send(carrier, trainFor(carrier));
    }
    for (let missing = waiting.length - lending; missing > 0 && carriers.size + lending < max; missing -= 1) {
      lend();
    }
  }

  function lend(): void {
    lending += 1;
    options.lend().then(
      (lease) => {
        lending -= 1;
        const carrier: Carrier = { lease, sinceMs: performance.now(), train: [] };
        carriers.add(carrier);
        lease.onLost = () => retire(carrier, 'it was lost');
        // Whoever else waits comes after the trip for which it was lent, or trips would wait for ever.
        if (waiting.length > 0) send(carrier, trainFor(carrier));
        else free(carrier);
      },
      (error: unknown) => {
        lending -= 1;
        waiting.shift()?.reject(error); // one who does not wait any more has been told why
        if (waiting.length > 0) dispatchSoon();
      },
    );
  }

  function free(carrier: Carrier): void {
    if (mustGo(carrier)) retire(carrier);
    else if (waiting.length > 0) send(carrier, trainFor(carrier));
    else idle.push(carrier);
    if (waiting.length > 0) dispatchSoon();
  }

  function mustGo({ lease, sinceMs }: Carrier): boolean {
    const wanted = options.queued() > lending;
    return ended || lease.tainted || wanted || performance.now() - sinceMs > keepMs;
  }

  function retire(carrier: Carrier, why?: string): void {
    const at = idle.indexOf(carrier);
    if (at >= 0) idle.splice(at, 1);
    if (why !== undefined) carrier.lease.taint(why);
    // One that is lost while it is used comes by again when its trips have failed.
    if (carrier.train.length > 0 || !carriers.delete(carrier)) return;
    carrier.lease.onLost = undefined;
    options.giveBack(carrier.lease);
  }

  function trainFor({ lease: { client } }: Carrier): RoundTrip[] {
    const kind = waiting[0]?.afterwards;
    const apart = kind !== undefined && performance.now() < apartUntilMs;
    const [max, withinMs] = kind === undefined ? [trainLength, quickMs] : [groupSize, quickWriteMs];
    const mayShare = (trip: RoundTrip | undefined) =>
      trip !== undefined && trip.afterwards === kind && !trip.alone && isQuick(client, trip.steps, withinMs);
    let length = 1;
    if (!apart && mayShare(waiting[0])) while (length < max && mayShare(waiting[length])) length += 1;
    return waiting.splice(0, length);
  }

  function send(carrier: Carrier, train: RoundTrip[]): void {
    carrier.train = train;
    const clock = { startedMs: performance.now() };
    for (const trip of train) trip.sending();
    begin(carrier);
    const afterwards = train[0]?.afterwards;
    runTrain(
      carrier.lease.client,
      afterwards === undefined
        ? train.map((trip) => carOf(carrier, trip, clock))
        : carsOfWrites(carrier, [...train], afterwards, clock),
    );
  }

  function carOf(carrier: Carrier, trip: RoundTrip, clock: { startedMs: number }): Car {
    const { steps } = trip;
    return {
      steps,
      callback(error, results = []) {
        const nowMs = performance.now();
        if (error === null) noteDuration(carrier.lease.client, steps, nowMs - clock.startedMs);
        clock.startedMs = nowMs;
        settle(carrier, trip, error, results);
      },
    };
  }

  /** One transaction, and what is asked after it. */
  function carsOfWrites(
    carrier: Carrier,
    trips: readonly RoundTrip[],
    afterwards: readonly Step[],
    { startedMs }: { startedMs: number },
  ): Car[] {
    const { lease } = carrier;
    const together = trips.length > 1;
    const steps = [...(together ? togetherSteps : []), ...trips.flatMap((trip) => trip.steps)];
    let failure: Error | null = null;
    let kept: StepResult[] = [];
    return [
      {
        steps,
        callback(error, results = []) {
          if (error === null) noteDuration(lease.client, steps, performance.now() - startedMs);
          failure = error;
          kept = together ? results.slice(togetherSteps.length) : results;
        },
      },
      {
        steps: afterwards,
        callback(error, results = []) {
          if (error !== null && failure === null) lease.taintBy(error);
          // An answer to what came after it proves that the transaction has been rolled back.
          if (together && failure !== null && error === null) makeAnew(carrier, trips, failure);
          else settleAll(carrier, trips, together && failure !== null ? error : failure, kept, results);
        },
      },
    ];
  }

  function settleAll(
    carrier: Carrier,
    trips: readonly RoundTrip[],
    failure: Error | null,
    kept: StepResult[],
    after: readonly StepResult[],
  ): void {
    // What the connection had been left with is in the first answer; the others find the context of the one before.
    if (failure === null) trips[0]?.check(carrier.lease, kept);
    for (const trip of trips) {
      settle(carrier, trip, failure, [...kept.splice(0, trip.steps.length), ...after], 'checked');
    }
  }

  /** Whose fault it was is not asked: it may have been what one did to another. */
  function makeAnew(carrier: Carrier, trips: readonly RoundTrip[], failure: Error): void {
    if (carrier.lease.watch.end() !== undefined) carrier.lease.taint('its statement has been cancelled');
    carrier.lease.taintBy(failure);
    apartUntilMs = performance.now() + apartMs;
    for (const trip of trips) trip.alone = true;
    waiting.unshift(...trips);
    carrier.train = [];
    free(carrier);
  }

  /** PostgreSQL is at the first of those that are left. */
  function begin({ lease, train: [first] }: Carrier): void {
    if (first !== undefined) lease.watch.begin(first.signal);
  }

  function settle(
    carrier: Carrier,
    trip: RoundTrip,
    error: Error | null,
    results: StepResult[],
    checked?: 'checked',
  ): void {
    const { lease, train } = carrier;
    if (lease.watch.end() !== undefined) lease.taint('its statement has been cancelled');
    if (error !== null) lease.taintBy(error);
    else if (checked === undefined) trip.check(lease, results);
    train.splice(train.indexOf(trip), 1);
    begin(carrier);
    if (train.length === 0) free(carrier);
    const failure = error !== null && lease.watch.asked && isCancelled(error) ? whoseEnd(trip, error) : error;
    answered.push({ trip, failure, results });
    dispatchSoon();
  }

  /** When everything that has arrived in this turn has been seen, and PostgreSQL has got its next work. */
  function answer(): void {
    for (const { trip, failure, results } of answered.splice(0)) {
      if (failure === null) trip.resolve(results);
      else trip.reject(failure);
    }
  }

  /** A request to cancel arrives when it does, and may hit the one that comes after. */
  function whoseEnd({ signal }: RoundTrip, error: Error): Error {
    const asked = signal();
    return asked?.aborted
      ? endedError(asked, error)
      : new Displaced('It was cancelled in the place of another');
  }

  /** Whoever has to wait for a connection may have gone meanwhile. */
  function dropAbandoned(): void {
    const [first] = waiting;
    if (first === undefined || performance.now() - first.askedMs < graceMs) return;
    for (const trip of waiting.filter(({ signal }) => signal()?.aborted)) {
      drop(trip, endedError(trip.signal()));
    }
  }

  function drop(trip: RoundTrip, error: Error): void {
    waiting.splice(waiting.indexOf(trip), 1);
    trip.reject(error);
  }

  function goRound(): void {
    dropAbandoned();
    const lateMs = performance.now() - acquireMs;
    for (const trip of waiting.filter(({ askedMs }) => askedMs < lateMs)) {
      drop(trip, new Error('timeout exceeded when trying to connect')); // as node-postgres says it
    }
    for (const carrier of idle.filter(mustGo)) retire(carrier);
    if (carriers.size + waiting.length > 0) return;
    clearInterval(rounds);
    rounds = undefined;
  }

  return {
    make(trip) {
      if (ended) return Promise.reject(new Error('Cannot use a pool after calling end on the pool'));
      if (waiting.length >= maxWaiting) return Promise.reject(new Error('Too many wait for a connection'));
      rounds ??= setInterval(goRound, roundMs).unref();
      return new Promise((resolve, reject) => {
        trip.resolve = resolve;
        trip.reject = reject;
        waiting.push(trip);
        dispatchSoon();
      });
    },
    spare() {
      const carrier = idle.pop();
      if (carrier === undefined) return undefined;
      carriers.delete(carrier);
      carrier.lease.onLost = undefined;
      return carrier.lease;
    },
    figures: () => ({ idle: idle.length, waiting: Math.max(0, waiting.length - lending) }),
    end() {
      ended = true;
      for (const carrier of [...idle]) retire(carrier);
    },
  };
}
