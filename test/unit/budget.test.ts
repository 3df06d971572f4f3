import { describe, expect, it } from '@jest/globals';
import { createBudget } from '../../src/db/budget.ts';

function budgetOf(perSecond: number | undefined, burst?: number) {
  let nowMs = 1000;
  const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs };
  const budget = createBudget({ perSecond, burst, clock });
  return {
    budget,
    /** How many of 100 are let through now. */
    passing: () => Array.from({ length: 100 }, () => budget.take()).filter(Boolean).length,
    advance: (ms: number) => {
      nowMs += ms;
    },
  };
}

describe('a budget', () => {
  it('lets a second’s worth through at once, and then as much as time brings', () => {
    const { passing, advance } = budgetOf(10);
    expect(passing()).toBe(10);
    expect(passing()).toBe(0);
    advance(300);
    expect(passing()).toBe(3);
    advance(60_000);
    expect(passing()).toBe(10);
  });

  it('has a burst of its own where it is told one', () => {
    const { passing, advance } = budgetOf(10, 25);
    expect(passing()).toBe(25);
    advance(1000);
    expect(passing()).toBe(10);
  });

  it('counts what it lets through and what it refuses', () => {
    const { budget, passing } = budgetOf(10);
    passing();
    expect(budget.figures()).toEqual({ taken: 10, refused: 90 });
  });

  it('of 0 lets nothing through, and none at all everything', () => {
    expect(budgetOf(0).passing()).toBe(0);
    expect(budgetOf(0, 5).passing()).toBe(0);
    expect(budgetOf(undefined).passing()).toBe(100);
  });
});
