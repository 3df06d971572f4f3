import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { type Freshness, type NodeState, type NodeView, route } from '../../src/db/router.ts';

const primary: NodeView = { name: 'primary', role: 'primary', state: 'fresh', lagMs: undefined, load: 0 };
const replica = (n: number, state: NodeState = 'fresh', load = 0): NodeView => ({
  name: `replica-${n}`,
  role: 'replica',
  state,
  lagMs: state === 'fresh' ? n : undefined,
  load,
});
const session: Freshness = { level: 'session', pinnedUntilMs: undefined };

describe('route()', () => {
  it('sends every write to the primary, whatever the nodes are like', () => {
    expect(route('write', session, [primary, replica(1)], 0)).toMatchObject({
      node: 'primary',
      reason: 'write',
    });
  });

  it('sends a read to a fresh replica and tells its lag', () => {
    expect(route('read', session, [primary, replica(1)], 0)).toEqual({
      node: 'replica-1',
      role: 'replica',
      reason: 'fresh',
      lagMs: 1,
    });
  });

  it('sends a strong read to the primary', () => {
    const strong: Freshness = { level: 'strong', pinnedUntilMs: undefined };
    expect(route('read', strong, [primary, replica(1)], 0).reason).toBe('strong');
  });

  it('keeps an actor on the primary until the very end of the window', () => {
    const pinned: Freshness = { level: 'session', pinnedUntilMs: 5000 };
    expect(route('read', pinned, [primary, replica(1)], 4999).reason).toBe('read-after-write');
    expect(route('read', pinned, [primary, replica(1)], 5000).node).toBe('replica-1');
  });

  it('takes the least loaded of the fresh replicas', () => {
    const nodes = [primary, replica(1, 'fresh', 3), replica(2, 'stale', 0), replica(3, 'fresh', 1)];
    expect(route('read', session, nodes, 0).node).toBe('replica-3');
  });

  it('falls back to the primary and says why', () => {
    expect(route('read', session, [primary], 0).reason).toBe('no-replica');
    expect(route('read', session, [primary, replica(1, 'unknown')], 0).reason).toBe('no-fresh-replica');
  });

  it('holds its promises over the whole input space', () => {
    const state = fc.constantFrom<NodeState>('fresh', 'stale', 'unknown', 'down');
    const replicas = fc.array(fc.tuple(state, fc.nat(100)), { maxLength: 5 });
    const freshness = fc.record({
      level: fc.constantFrom('strong' as const, 'session' as const),
      pinnedUntilMs: fc.option(fc.nat(10_000), { nil: undefined }),
    });
    fc.assert(
      fc.property(
        fc.constantFrom('read' as const, 'write' as const),
        freshness,
        replicas,
        fc.nat(10_000),
        (intent, fresh, states, nowMs) => {
          const nodes = [primary, ...states.map(([s, load], index) => replica(index + 1, s, load))];
          const decision = route(intent, fresh, nodes, nowMs);
          const node = nodes.find(({ name }) => name === decision.node);
          expect(node?.role).toBe(decision.role);
          if (decision.role === 'replica') {
            expect(node?.state).toBe('fresh');
            expect(intent).toBe('read');
            expect(fresh.level).toBe('session');
            expect(fresh.pinnedUntilMs ?? 0).toBeLessThanOrEqual(nowMs);
          } else if (['no-replica', 'no-fresh-replica'].includes(decision.reason)) {
            expect(nodes.some(({ role, state: s }) => role === 'replica' && s === 'fresh')).toBe(false);
          }
        },
      ),
    );
  });
});
