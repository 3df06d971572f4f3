import { Counter, Gauge, type Registry } from 'prom-client';
import type { NodeFigures, NodeState } from '../db/index.ts';

const states: readonly NodeState[] = ['fresh', 'stale', 'unknown', 'down'];

/** What is read off the nodes when somebody asks. `nodes` may be of no nodes yet. */
export function nodeMetrics(registry: Registry, nodes: () => readonly NodeFigures[]): void {
  /** A gauge whose samples are read off each node; undefined leaves the node out. */
  function gauge(name: string, help: string, read: (node: NodeFigures) => number | undefined): void {
    const shown = new Gauge({
      name,
      help,
      labelNames: ['node'],
      registers: [registry],
      collect() {
        this.reset(); // a node that changed its role has another name
        for (const node of nodes()) {
          const value = read(node);
          if (value !== undefined) shown.set({ node: node.name }, value);
        }
      },
    });
  }

  gauge('tenantry_node_lag_seconds', 'How far a replica is behind at most; absent when not known.', (node) =>
    node.lagMs === undefined ? undefined : node.lagMs / 1000,
  );
  gauge(
    'tenantry_node_lag_bytes',
    'WAL that a replica has not replayed; absent when not known.',
    (node) => node.lagBytes,
  );
  gauge('tenantry_pool_max', 'Connections to the node at most.', ({ pool }) => pool.max);
  gauge('tenantry_pool_in_use', 'Connections lent to units of work.', ({ pool }) => pool.inUse);
  gauge('tenantry_pool_idle', 'Connections open and free.', ({ pool }) => pool.idle);
  gauge('tenantry_pool_waiting', 'Units of work that wait for a connection.', ({ pool }) => pool.waiting);

  const state = new Gauge({
    name: 'tenantry_node_state',
    help: '1 for the state that the node is in, 0 for the others.',
    labelNames: ['node', 'state'],
    registers: [registry],
    collect() {
      this.reset();
      for (const node of nodes()) {
        for (const each of states) state.set({ node: node.name, state: each }, each === node.state ? 1 : 0);
      }
    },
  });

  function counter(name: string, help: string, read: (node: NodeFigures) => number): void {
    const shown = new Counter({
      name,
      help,
      labelNames: ['node'],
      registers: [registry],
      collect() {
        this.reset();
        for (const node of nodes()) shown.inc({ node: node.name }, read(node));
      },
    });
  }

  counter(
    'tenantry_pool_tainted_total',
    'Connections destroyed on return because they were not clean.',
    ({ pool }) => pool.tainted,
  );
  counter(
    'tenantry_admission_waits_total',
    'Units of work that had to wait for their share of the connections.',
    ({ admission }) => admission.waited,
  );
  counter(
    'tenantry_admission_refusals_total',
    'Units of work that were refused because too many waited, or for too long.',
    ({ admission }) => admission.refused,
  );
}
