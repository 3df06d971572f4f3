import type { Overrides } from '../../src/build.ts';
import { type NodeView, route, type SightingStore } from '../../src/db/index.ts';

/** Takes one protection of the reads away. A history test that finds nothing then would prove nothing. */
export const protections = ['check', 'sightings', 'lag'] as const;
export type Protection = (typeof protections)[number];

export function without(protection: Protection): Overrides {
  return { database: sabotages[protection] };
}

const sabotages: Record<Protection, NonNullable<Overrides['database']>> = {
  /** A replica that most likely has the position is believed, and not asked. */
  check: {
    route(intent, demand, nodes) {
      const decision = route(intent, demand, nodes);
      return decision && { ...decision, mustHave: undefined };
    },
  },
  /** Nobody remembers who wrote or saw what. Tokens still count. */
  sightings: { sightings: forgetful },
  /** A replica that answers at all is taken to be level with the primary. */
  lag: { route: (intent, demand, nodes) => route(intent, demand, nodes.map(trusted)) },
};

function forgetful(): SightingStore {
  return { find: () => undefined, wrote: () => undefined, saw: () => undefined, size: () => 0 };
}

function trusted(node: NodeView): NodeView {
  const answers = node.state === 'stale' || node.state === 'unknown';
  return node.role === 'replica' && answers ? { ...node, state: 'fresh', lagMs: 0 } : node;
}
