import { setTimeout as pause } from 'node:timers/promises';
import { remedyFor } from './pg-errors.ts';

/** Times a unit of work is run at most. */
export const maxRuns = 3;

/** Runs a unit of work again when PostgreSQL rolled all of it back and a repeat can succeed. */
export async function rerunning<T>(unit: () => Promise<T>): Promise<T> {
  for (let runs = 1; ; runs += 1) {
    try {
      return await unit();
    } catch (error) {
      if (remedyFor(error, 'primary') !== 'rerun' || runs === maxRuns) throw error;
      await drawApart(runs);
    }
  }
}

/** Units that met each other would meet again if they came back at once. */
export function drawApart(runs: number): Promise<void> {
  return pause(runs * (5 + 20 * Math.random()));
}
