import type { Clock } from '../clock.ts';

/** So many pieces of work a second, and some more at once after a quiet time. */
export interface Budget {
  /** Takes one piece. @returns false when there is none left; nothing has been taken then */
  take(): boolean;
  figures(): { taken: number; refused: number };
}

export interface BudgetOptions {
  /** Undefined: there is no limit. 0: nothing is let through. */
  perSecond: number | undefined;
  /** At once at most. Default: as many as in one second. */
  burst?: number | undefined;
  clock: Clock;
}

/** A token bucket, full at the start. */
export function createBudget({ perSecond, burst, clock }: BudgetOptions): Budget {
  const rate = perSecond ?? Infinity;
  const size = rate === 0 ? 0 : (burst ?? rate);
  let tokens = size;
  let filledAtMs = clock.monotonicMs();
  let taken = 0;
  let refused = 0;

  return {
    take() {
      if (perSecond !== undefined) {
        const nowMs = clock.monotonicMs();
        tokens = Math.min(size, tokens + ((nowMs - filledAtMs) / 1000) * rate);
        filledAtMs = nowMs;
        if (tokens < 1) {
          refused += 1;
          return false;
        }
        tokens -= 1;
      }
      taken += 1;
      return true;
    },
    figures: () => ({ taken, refused }),
  };
}
