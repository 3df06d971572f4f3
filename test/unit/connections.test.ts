import { describe, expect, it } from '@jest/globals';
import { connectionBudget, overdrawn } from '../../src/control/connections.ts';

const budget = { needed: 19, max: 97, open: 10, processes: 5 };

describe('the connections of a process', () => {
  it('are fine while the primary has as many left', () => {
    expect(overdrawn(budget)).toBeUndefined();
    expect(overdrawn({ ...budget, open: 78 })).toBeUndefined();
  });

  it('are too many when the primary has fewer left, or never takes as many', () => {
    expect(overdrawn({ ...budget, open: 79 })).toMatch(/has 18 of 97 left/);
    expect(overdrawn({ ...budget, needed: 98 })).toMatch(
      /may open 98 connections on the primary, which takes 97/,
    );
  });

  it('include the control plane where it is served', async () => {
    const db = { lookUp: async <Row>() => [{ max: 97, open: 3 }] as Row[] };
    const pool = { DATABASE_POOL_MAX: 10, DATABASE_ADMIN_URL: undefined };
    expect(await connectionBudget(pool, db)).toEqual({ needed: 11, max: 97, open: 3, processes: 8 });
    const both = { ...pool, DATABASE_ADMIN_URL: 'postgresql://admin' };
    expect(await connectionBudget(both, db)).toMatchObject({ needed: 23, processes: 4 });
  });
});
