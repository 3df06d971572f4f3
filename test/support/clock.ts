import type { Clock } from '../../src/clock.ts';

/** Real time, which a test can move forward. */
export interface TestClock extends Clock {
  advance(ms: number): void;
}

export function createTestClock(): TestClock {
  let aheadMs = 0;
  return {
    nowMs: () => Date.now() + aheadMs,
    monotonicMs: () => performance.now() + aheadMs,
    advance(ms) {
      aheadMs += ms;
    },
  };
}
