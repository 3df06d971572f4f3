import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import type { Clock } from '../../clock.ts';
import { Stopped } from './apply.ts';
import type { Health } from './health.ts';
import type { Journal } from './journal.ts';
import type { Lease } from './lease.ts';

/**
 * What every try of a run passes first. It opens when the operator and the state of the database allow, and closes for
 * good when the run is to end.
 */
export interface Gate {
  /** Resolves when something may be begun. @throws Stopped when nothing will be any more */
  pass(): Promise<void>;
  /**
   * Makes a try. While clients are answered one is made at a time, whatever the number of slots, and each is followed by a
   * rest: what they ask for finds a processor free, and most of the time all of them.
   */
  giveWay<T>(attempt: () => Promise<T>): Promise<T>;
  /** The first reason counts. */
  stop(stopped: Stop['stopped'], reason: string): void;
  stopped(): Stop | undefined;
}

export interface Stop {
  stopped: 'halted' | 'cancelled' | 'interrupted';
  reason: string;
}

export interface GateParts {
  lease: Pick<Lease, 'lost' | 'wanted'>;
  health: Health;
  journal: Journal;
  clock: Clock;
  signal: AbortSignal | undefined;
}

export const interrupted = 'the run was interrupted';
const lookMs = 1000;
/** What is unwell for longer ends the run. */
const patienceMs = 30_000;
/** Of what a try took, while clients are answered. */
const restTimes = 4;
/** What took long was waiting, not work. */
const maxRestMs = 1000;

export function createGate({ lease, health, journal, clock, signal }: GateParts): Gate {
  let stop: Stop | undefined;
  let holding: Promise<void> | undefined;
  let unwell: { reason: string; sinceMs: number } | undefined;
  let looking: Promise<void> | undefined;
  let lookedMs = -Infinity;

  const turns = pLimit(1);

  const over = () => stop !== undefined || signal?.aborted === true || lease.lost.aborted;

  function settle(): void {
    if (signal?.aborted === true) stop ??= { stopped: 'interrupted', reason: interrupted };
    if (lease.lost.aborted) stop ??= { stopped: 'halted', reason: (lease.lost.reason as Error).message };
    if (lease.wanted() === 'cancel') stop ??= { stopped: 'cancelled', reason: 'the run was cancelled' };
    if (unwell !== undefined && clock.monotonicMs() - unwell.sinceMs > patienceMs) {
      stop ??= { stopped: 'halted', reason: `${unwell.reason}, for ${patienceMs / 1000} s` };
    }
    if (stop !== undefined) throw new Stopped(stop.reason);
  }

  async function look(): Promise<void> {
    // Who cannot ask does not know: as if it were unwell.
    const reason = await health
      .check()
      .catch((error: Error) => `the database cannot be asked: ${error.message}`);
    lookedMs = clock.monotonicMs();
    if (reason !== undefined && unwell === undefined) journal.tell({ type: 'unwell', reason });
    if (reason === undefined && unwell !== undefined) journal.tell({ type: 'well' });
    unwell = reason === undefined ? undefined : { reason, sinceMs: unwell?.sinceMs ?? lookedMs };
  }

  async function pause(): Promise<void> {
    await journal.status('paused', null);
    journal.tell({ type: 'paused' });
    while (lease.wanted() === 'pause' && !over()) await sleep(100);
    if (over() || lease.wanted() === 'cancel') return;
    await journal.status('running', null);
    journal.tell({ type: 'resumed' });
  }

  async function makeAndRest<T>(attempt: () => Promise<T>): Promise<T> {
    const begunMs = clock.monotonicMs();
    const done = await attempt(); // one that fails has waited for its lock, and not worked
    const tookMs = clock.monotonicMs() - begunMs;
    if (health.busy() && !over()) await sleep(Math.min(tookMs * restTimes, maxRestMs));
    return done;
  }

  return {
    async pass() {
      for (;;) {
        settle();
        if (clock.monotonicMs() - lookedMs >= lookMs) {
          await (looking ??= look().finally(() => {
            looking = undefined;
          }));
        } else if (lease.wanted() === 'pause') {
          await (holding ??= pause().finally(() => {
            holding = undefined;
          }));
        } else if (unwell === undefined) return;
        else await sleep(100);
      }
    },
    giveWay: (attempt) => (health.busy() && !over() ? turns(() => makeAndRest(attempt)) : attempt()),
    stop(stopped, reason) {
      stop ??= { stopped, reason };
    },
    stopped: () => stop,
  };
}
