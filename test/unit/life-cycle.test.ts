import { describe, expect, it } from '@jest/globals';
import {
  accessOf,
  lifecycle,
  nextStatus,
  remembersPrior,
  type TenantAction,
  type TenantStatus,
  tenantStatuses,
} from '../../src/control/tenants/lifecycle.ts';

const actions: TenantAction[] = [
  ...(['update', 'suspend', 'resume', 'delete', 'restore', 'purge'] as const),
  ...(['beginMove', 'endMove', 'completePurge'] as const),
];
const standing = (status: TenantStatus, priorStatus: TenantStatus | null = null) => ({ status, priorStatus });

describe('the life cycle', () => {
  it.each([
    ['active', 'suspend', 'suspended'],
    ['suspended', 'resume', 'active'],
    ['active', 'delete', 'deleted'],
    ['suspended', 'delete', 'deleted'],
    ['deleted', 'purge', 'purging'],
    ['purging', 'purge', 'purging'],
    ['purging', 'completePurge', 'purged'],
    ['active', 'beginMove', 'moving'],
    ['suspended', 'beginMove', 'moving'],
    ['deleted', 'update', 'deleted'],
  ] as const)('%s, %s: %s', (status, action, next) => {
    expect(nextStatus(standing(status), action)).toBe(next);
  });

  it('gives back what it has taken: who was suspended before is suspended afterwards', () => {
    for (const before of ['active', 'suspended'] as const) {
      expect(nextStatus(standing('deleted', before), 'restore')).toBe(before);
      expect(nextStatus(standing('moving', before), 'endMove')).toBe(before);
    }
    for (const status of tenantStatuses) {
      const uses = Object.values(lifecycle[status].moves).includes('prior');
      expect([status, remembersPrior.has(status)]).toEqual([status, uses]);
    }
  });

  it('refuses everything else, and says what is allowed instead', () => {
    for (const status of tenantStatuses) {
      for (const action of actions.filter((name) => lifecycle[status].moves[name] === undefined)) {
        expect(() => nextStatus(standing(status), action)).toThrow(
          expect.objectContaining({ code: 'illegal_state', message: expect.stringContaining(status) }),
        );
      }
    }
    expect(() => nextStatus(standing('deleted', 'active'), 'suspend')).toThrow(
      'allows update, restore, purge',
    );
    expect(() => nextStatus(standing('purged'), 'restore')).toThrow('allows nothing more');
  });

  it('has no way back from a purge', () => {
    const reached = new Set<string>(['purging']);
    for (const status of reached) {
      for (const next of Object.values(lifecycle[status as TenantStatus].moves)) reached.add(next);
    }
    expect([...reached]).toEqual(['purging', 'purged']);
  });

  it('serves active tenants, and moving ones as before', () => {
    const access = tenantStatuses.map((status) => [status, accessOf(standing(status, 'active'))]);
    expect(Object.fromEntries(access)).toEqual({
      active: 'served',
      suspended: 'suspended',
      moving: 'served',
      deleted: 'gone',
      purging: 'gone',
      purged: 'gone',
    });
    expect(accessOf(standing('moving', 'suspended'))).toBe('suspended');
  });
});
