import type { Clock } from '../clock.ts';
import { type Sighting, type SightingStore, sightingKey } from './consistency.ts';
import { furthest, type Position } from './position.ts';

/** Where processes tell each other what has been written. Every call may be slow, or reject: see below. */
export interface SharedMemory {
  /**
   * What has been written under this key, and how long ago at most, milliseconds: at least for as long as the window and
   * a loss of the primary last. Without a position when that is not known.
   */
  find(key: string): Promise<(Sighting & { readonly ageMs: number }) | undefined>;
  /** Never goes back; without a position, nothing is known for a window from now. */
  put(key: string, position: Position | undefined): Promise<void>;
}

export interface SharedSightingsOptions {
  /** What this process knows by itself. */
  local: SightingStore;
  memory: SharedMemory;
  windowMs: number;
  clock: Clock;
  /** See SightingStoreOptions. */
  presentMs: () => number;
  /** A call of the shared memory is given up after this. Default 50 ms: a request waits no longer for it. */
  patienceMs?: number;
  /** Told when the shared memory fails, and when it answers again. */
  onChange?: (reachable: boolean) => void;
}

export interface SharedSightings extends SightingStore {
  stop(): void;
}

/** After a failure the shared memory is left alone for this long, or every read would wait in vain. */
const restMs = 250;
const retryMs = 100;

/**
 * Writes are known to all processes. What an actor merely saw stays in the memory of its process: telling it would cost a
 * write to the shared memory for every read, and all that it would give is that time does not go back from one process to
 * the next, within MAX_REPLICA_LAG_MS.
 *
 * Nothing fails with the shared memory. A look-up that fails is answered with "something may have been written", so the
 * primary is read; a write that could not be told is known here and told again until it is, or its window is over.
 */
export function createSharedSightings(options: SharedSightingsOptions): SharedSightings {
  const { local, memory, windowMs, clock, presentMs, patienceMs = 50 } = options;
  const untold = new Map<string, { position: Position | undefined; untilMs: number }>();
  let restUntilMs = 0;
  let reachable = true;
  let timer: NodeJS.Timeout | undefined;

  async function bounded<T>(call: () => Promise<T>): Promise<T> {
    try {
      const value = await within(patienceMs, call());
      tell(true);
      return value;
    } catch (error) {
      restUntilMs = clock.monotonicMs() + restMs;
      tell(false);
      throw error;
    }
  }

  function tell(now: boolean): void {
    if (now === reachable) return;
    reachable = now;
    options.onChange?.(now);
  }

  function owe(key: string, position: Position | undefined): void {
    const known = untold.get(key);
    const both =
      known === undefined ? position : known.position && position && furthest(known.position, position);
    untold.set(key, { position: both, untilMs: clock.monotonicMs() + windowMs });
    timer ??= setTimeout(() => void tellAgain(), retryMs).unref();
  }

  async function tellAgain(): Promise<void> {
    for (const [key, owed] of untold) {
      try {
        if (owed.untilMs > clock.monotonicMs()) await bounded(() => memory.put(key, owed.position));
        // Something more may have come to be owed meanwhile.
        if (untold.get(key) === owed) untold.delete(key);
      } catch {
        break; // the others would fare no better
      }
    }
    timer = untold.size === 0 ? undefined : setTimeout(() => void tellAgain(), retryMs).unref();
  }

  return {
    async find(scope) {
      if (windowMs === 0) return undefined;
      const here = await local.find(scope);
      if (here !== undefined && here.position === undefined) return here;
      if (clock.monotonicMs() < restUntilMs) return unknown;
      try {
        const there = await bounded(() => memory.find(sightingKey(scope)));
        const standstillMs = clock.monotonicMs() - presentMs();
        if (there === undefined || there.ageMs >= windowMs + standstillMs) return here;
        if (there.position === undefined) return unknown;
        return { position: furthest(here?.position, there.position) };
      } catch {
        return unknown;
      }
    },
    async wrote(scope, position) {
      await local.wrote(scope, position);
      if (windowMs === 0) return;
      const key = sightingKey(scope);
      try {
        await bounded(() => memory.put(key, position));
      } catch {
        owe(key, position);
      }
    },
    saw: (scope, position) => local.saw(scope, position),
    size: () => local.size(),
    stop() {
      clearTimeout(timer);
      untold.clear();
    },
  };
}

const unknown: Sighting = { position: undefined };

/** @throws Error when `promise` has not settled within `ms` */
export async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
