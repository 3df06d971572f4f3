import { describe, expect, it } from '@jest/globals';
import {
  climbLadder,
  isPassing,
  lockLadder,
  patientLadder,
  type Rung,
} from '../../src/control/migrations/lock-ladder.ts';
import { AppError, unavailable } from '../../src/errors.ts';

const locked = Object.assign(new Error('canceling statement due to lock timeout'), { code: '55P03' });
const ladder: Rung[] = [
  { timeoutMs: 100, pauseMs: 0 },
  { timeoutMs: 200, pauseMs: 0 },
  { timeoutMs: 400, pauseMs: 0 },
];
const never = new AbortController().signal;

function climbing(outcomes: readonly (Error | string)[], signal = never) {
  const tried: number[] = [];
  const climb = climbLadder({
    ladder,
    signal,
    attempt: async ({ timeoutMs }) => {
      const outcome = outcomes[tried.length];
      tried.push(timeoutMs);
      if (outcome instanceof Error) throw outcome;
      return outcome;
    },
  });
  return { climb, tried };
}

describe('the ladder of locks', () => {
  it('tries again with the next time-out until it succeeds', async () => {
    const { climb, tried } = climbing([locked, locked, 'done']);
    expect(await climb).toBe('done');
    expect(tried).toEqual([100, 200, 400]);
  });

  it('gives up after the last rung, whose time-out is finite as all are', async () => {
    const { climb, tried } = climbing([locked, locked, locked, 'never']);
    await expect(climb).rejects.toBe(locked);
    expect(tried).toHaveLength(3);
    for (const rung of [...lockLadder, ...patientLadder]) expect(rung.timeoutMs).toBeGreaterThan(0);
    expect(lockLadder[0]?.timeoutMs).toBe(100);
    expect(Math.max(...lockLadder.map(({ timeoutMs }) => timeoutMs))).toBeLessThanOrEqual(1000);
  });

  it('does not repeat what no repetition mends', async () => {
    const broken = Object.assign(new Error('column "x" does not exist'), { code: '42703' });
    const { climb, tried } = climbing([broken, 'never']);
    await expect(climb).rejects.toBe(broken);
    expect(tried).toHaveLength(1);
  });

  it('stops when it is told to', async () => {
    const stopping = new AbortController();
    stopping.abort();
    const { climb, tried } = climbing([locked, 'never'], stopping.signal);
    await expect(climb).rejects.toBe(locked);
    expect(tried).toHaveLength(1);
  });

  it.each([
    ['a lock time-out', locked, true],
    ['the same, translated', new AppError('unavailable', 'x', { cause: locked }), true],
    ['a deadlock', Object.assign(new Error('x'), { code: '40P01' }), true],
    ['a server that is shut down', Object.assign(new Error('x'), { code: '57P01' }), true],
    ['a connection that is reset', Object.assign(new Error('x'), { code: 'ECONNRESET' }), true],
    ['somebody else at work in the schema', unavailable('Another runner is at work in this schema.'), true],
    ['a unique violation', Object.assign(new Error('x'), { code: '23505' }), false],
    ['a mistake of ours', new TypeError('x is not a function'), false],
  ])('%s passes: %p', (_name, error, passing) => {
    expect(isPassing(error)).toBe(passing);
  });
});
