import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../../errors.ts';

/**
 * How a step comes by its locks without holding anybody up for long: whoever waits for a lock on a table makes all wait
 * that come after it. So each try is short, the pauses between them grow, and the last try has a time-out as the first.
 */
export interface Rung {
  /** `lock_timeout`. */
  timeoutMs: number;
  /** After a try that failed, before the next; half of it to one and a half, by chance. */
  pauseMs: number;
}

/** A minute, about. */
export const lockLadder: readonly Rung[] = [
  ...rungs(10, { timeoutMs: 100, pauseMs: 200 }),
  ...rungs(10, { timeoutMs: 200, pauseMs: 1000 }),
  ...rungs(8, { timeoutMs: 500, pauseMs: 3000 }),
  ...rungs(4, { timeoutMs: 1000, pauseMs: 5000 }),
];

/**
 * For statements that run outside of transactions, CREATE INDEX CONCURRENTLY above all: while they wait for transactions
 * that began before them they hold nobody up, so they may wait longer.
 */
export const patientLadder: readonly Rung[] = [
  ...rungs(3, { timeoutMs: 5000, pauseMs: 1000 }),
  ...rungs(5, { timeoutMs: 30_000, pauseMs: 5000 }),
];

function rungs(count: number, rung: Rung): Rung[] {
  return Array.from({ length: count }, () => rung);
}

/** What may well succeed when it is tried again: the lock was not to be had, or the server was lost in between. */
const passing = new Set(['55P03', '40P01', '40001', '57P01', '57P02', '57P03']);

export interface Climb<T> {
  ladder: readonly Rung[];
  /** Aborts the pauses. */
  signal: AbortSignal;
  attempt: (rung: Rung) => Promise<T>;
  /** Told of each try that failed and will be followed by another. */
  onRetry?: (error: Error) => void;
  /** Between 0 and 1. */
  random?: () => number;
}

/**
 * @returns what the first try that succeeds does
 * @throws what the last try threw, or the first that no repetition would mend
 */
export async function climbLadder<T>({
  ladder,
  signal,
  attempt,
  onRetry,
  random = Math.random,
}: Climb<T>): Promise<T> {
  for (const [index, rung] of ladder.entries()) {
    try {
      return await attempt(rung);
    } catch (error) {
      if (index === ladder.length - 1 || !isPassing(error) || signal.aborted) throw error;
      onRetry?.(error as Error);
    }
    await sleep(rung.pauseMs * (0.5 + random()), undefined, { signal }).catch(() => undefined);
  }
  throw new Error('A ladder has at least one rung');
}

export function isPassing(error: unknown): boolean {
  // Somebody makes, moves or removes the tenant at this moment, or the database is out of reach.
  if (error instanceof AppError && error.code === 'unavailable') return true;
  const state = sqlStateOf(error);
  return state !== undefined && (passing.has(state) || state.startsWith('08'));
}

/** Of an error as PostgreSQL has it, or as src/db translates it. Undefined when neither server nor connection made it. */
export function sqlStateOf(error: unknown): string | undefined {
  const told = error instanceof AppError ? error.cause : error;
  const code = (told as { code?: unknown } | undefined)?.code;
  if (typeof code !== 'string') return undefined;
  if (/^[0-9A-Z]{5}$/.test(code)) return code;
  return /^(?:ECONN|EPIPE|ETIMEDOUT)/.test(code) ? '08006' : undefined;
}
