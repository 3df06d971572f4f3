import type { Clock } from '../../../clock.ts';
import type { NodeFigures } from '../../../db/index.ts';

/** Long deletions give way: replicas must be able to follow, and others to work. */
export interface Pace {
  /** To be called after every batch. @param tookMs how long it took */
  rest(tookMs: number, signal: AbortSignal): Promise<void>;
}

/** A replica that never catches up must not hold a purge up for ever. */
const patienceMs = 30_000;
const lookAgainMs = 200;

/**
 * @param nodes undefined where the replicas are not known: then half of the time is left to others, as always
 * @param maxLagMs beyond half of it replicas are waited for
 */
export function createPace(options: {
  nodes: (() => readonly Pick<NodeFigures, 'role' | 'state' | 'lagMs'>[]) | undefined;
  maxLagMs: number;
  clock: Clock;
}): Pace {
  const { nodes = () => [], maxLagMs, clock } = options;
  const behind = () =>
    nodes().some(
      ({ role, state, lagMs }) => role === 'replica' && state !== 'down' && (lagMs ?? 0) > maxLagMs / 2,
    );
  return {
    async rest(tookMs, signal) {
      await pause(tookMs, signal);
      const startedMs = clock.monotonicMs();
      while (behind() && clock.monotonicMs() - startedMs < patienceMs) await pause(lookAgainMs, signal);
    },
  };
}

/** @throws the signal's reason when it is aborted */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}
