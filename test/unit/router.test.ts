import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Level } from '../../src/db/consistency.ts';
import {
  type Demand,
  type NodeState,
  type NodeView,
  type Reason,
  reasons,
  route,
} from '../../src/db/router.ts';

const primary: NodeView = {
  id: 0,
  name: 'primary',
  role: 'primary',
  state: 'fresh',
  lagMs: undefined,
  provenMs: 0,
  lsn: 100n,
  timeline: 1,
  load: 0,
};

function replica(id: number, more: Partial<NodeView> = {}): NodeView {
  return {
    id,
    name: `replica-${id}`,
    role: 'replica',
    state: 'fresh',
    lagMs: 0,
    provenMs: 400,
    lsn: 100n,
    timeline: undefined,
    load: 0,
    ...more,
  };
}

function demand(more: Partial<Demand> = {}): Demand {
  return { level: { kind: 'session' }, unknownWrite: false, position: undefined, ...more };
}

const at = (lsn: bigint, timeline = 1) => ({ lsn, timeline });

describe('route()', () => {
  it.each<[Reason, Demand, NodeView[], string]>([
    ['strong', demand({ level: { kind: 'strong' } }), [primary, replica(1)], 'primary'],
    ['no-replica', demand(), [primary], 'primary'],
    ['fresh', demand(), [primary, replica(1, { lagMs: 7 })], 'replica-1'],
    ['no-fresh-replica', demand(), [primary, replica(1, { state: 'stale' })], 'primary'],
    ['no-fresh-replica', demand(), [primary, replica(1, { state: 'unknown' })], 'primary'],
    ['no-fresh-replica', demand(), [primary, replica(1, { state: 'down' })], 'primary'],
    ['read-after-write', demand({ unknownWrite: true }), [primary, replica(1)], 'primary'],
    ['read-after-write', demand({ unknownWrite: true, position: at(1n) }), [primary, replica(1)], 'primary'],
    ['caught-up', demand({ position: at(100n) }), [primary, replica(1)], 'replica-1'],
    ['caught-up', demand({ position: at(101n) }), [primary, replica(1)], 'replica-1'],
    [
      'caught-up',
      demand({ position: at(101n) }),
      [primary, replica(1, { lsn: 98n }), replica(2, { lsn: 99n })],
      'replica-2',
    ],
    ['behind', demand({ position: at(101n), provenOnly: true }), [primary, replica(1)], 'primary'],
    ['caught-up', demand({ position: at(100n), provenOnly: true }), [primary, replica(1)], 'replica-1'],
    [
      'caught-up',
      demand({ position: at(101n) }),
      [primary, replica(1), replica(2, { lsn: 101n })],
      'replica-2',
    ],
    ['other-timeline', demand({ position: at(1n, 2) }), [primary, replica(1)], 'primary'],
    [
      'bounded',
      demand({ level: { kind: 'bounded', maxLagMs: 50 } }),
      [primary, replica(1, { provenMs: 50 })],
      'replica-1',
    ],
    [
      'no-fresh-replica',
      demand({ level: { kind: 'bounded', maxLagMs: 49 } }),
      [primary, replica(1, { provenMs: 50 })],
      'primary',
    ],
    ['any', demand({ level: { kind: 'any' } }), [primary, replica(1, { state: 'stale' })], 'replica-1'],
    [
      'no-fresh-replica',
      demand({ level: { kind: 'any' } }),
      [primary, replica(1, { state: 'unknown' })],
      'primary',
    ],
  ])('reads: %s', (reason, wanted, nodes, node) => {
    expect(route('read', wanted, nodes)).toMatchObject({ reason, node });
  });

  it('sends every write to the primary', () => {
    expect(route('write', demand(), [primary, replica(1)])).toMatchObject({
      node: 'primary',
      reason: 'write',
    });
  });

  it('knows no place for a write without a primary, and goes on reading', () => {
    expect(route('write', demand(), [replica(1)])).toBeUndefined();
    expect(route('read', demand(), [replica(1)])).toMatchObject({ node: 'replica-1' });
  });

  it('takes the least loaded of the good ones', () => {
    const nodes = [primary, replica(1, { load: 3 }), replica(2, { state: 'stale' }), replica(3, { load: 1 })];
    expect(route('read', demand(), nodes)?.node).toBe('replica-3');
  });

  it('holds its promises over the whole input space', () => {
    const state = fc.constantFrom<NodeState>('fresh', 'stale', 'unknown', 'down');
    const lsn = fc.bigInt({ min: 0n, max: 20n });
    const replicas = fc.array(
      fc.record({ state, lsn, load: fc.nat(9), provenMs: fc.option(fc.nat(3000), { nil: undefined }) }),
      { maxLength: 5 },
    );
    const level = fc.oneof(
      fc.constantFrom<Level>({ kind: 'strong' }, { kind: 'session' }, { kind: 'any' }),
      fc.record({ kind: fc.constant('bounded' as const), maxLagMs: fc.nat(3000) }),
    );
    const position = fc.option(fc.record({ timeline: fc.integer({ min: 1, max: 2 }), lsn }), {
      nil: undefined,
    });
    const wanted = fc.record({ level, unknownWrite: fc.boolean(), position });
    fc.assert(
      fc.property(
        fc.constantFrom('read' as const, 'write' as const),
        wanted,
        replicas,
        fc.boolean(),
        (intent, asked, views, hasPrimary) => {
          const nodes = [
            ...(hasPrimary ? [primary] : []),
            ...views.map((view, index) => replica(index + 1, view)),
          ];
          const decision = route(intent, asked, nodes);
          if (decision === undefined) {
            expect(hasPrimary).toBe(false);
            return;
          }
          const node = nodes.find(({ id }) => id === decision.id);
          expect(reasons).toContain(decision.reason);
          expect(node).toMatchObject({ name: decision.node, role: decision.role });
          if (decision.role === 'primary') return;
          expect(intent).toBe('read');
          expect(asked.level.kind).not.toBe('strong');
          expect(['down', 'unknown']).not.toContain(node?.state);
          if (asked.level.kind === 'session') {
            expect(node?.state).toBe('fresh');
            expect(asked.unknownWrite).toBe(false);
          }
          if (asked.level.kind === 'bounded')
            expect(node?.provenMs).toBeLessThanOrEqual(asked.level.maxLagMs);
          // Whatever has been seen is proven in the round trip of the read.
          expect(decision.mustHave).toBe(asked.position?.lsn);
        },
      ),
      { numRuns: 2000 },
    );
  });
});
