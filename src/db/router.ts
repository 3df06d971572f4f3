/**
 * Which node answers, and why: a pure function of facts. Everything that decides about freshness is here or in
 * `nodes.ts`; nothing here waits, asks or remembers.
 */

export type Intent = 'read' | 'write';
export type Role = 'primary' | 'replica';

/**
 * `fresh`: proven to be at most MAX_REPLICA_LAG_MS behind. `stale`: proven to be further behind. `unknown`: nothing is
 * proven, so it is not read. `down`: does not answer.
 */
export type NodeState = 'fresh' | 'stale' | 'unknown' | 'down';

export interface NodeView {
  readonly name: string;
  readonly role: Role;
  readonly state: NodeState;
  /** How far a replica is behind, milliseconds; undefined when not known, and for the primary. */
  readonly lagMs: number | undefined;
  /** Units of work under way and waiting. */
  readonly load: number;
}

/** Told to the client in `Served-By`, logged and counted. A closed set. */
export type Reason =
  /** a unit of work that may write */
  | 'write'
  /** the route or the caller asked for the primary */
  | 'strong'
  /** the actor wrote within the window */
  | 'read-after-write'
  /** a replica that is fresh */
  | 'fresh'
  /** no replica is configured */
  | 'no-replica'
  /** there are replicas, and none is proven fresh */
  | 'no-fresh-replica'
  /** the replica failed during the read; it was repeated on the primary */
  | 'replica-failed';

export interface Decision {
  readonly node: string;
  readonly role: Role;
  readonly reason: Reason;
  /** Of the replica that answers, milliseconds. */
  readonly lagMs: number | undefined;
}

export interface Freshness {
  readonly level: 'strong' | 'session';
  /** On the same clock as `nowMs`. */
  readonly pinnedUntilMs: number | undefined;
}

/**
 * @param nodes exactly one primary and any number of replicas
 * @returns the primary, or the least loaded fresh replica
 */
export function route(
  intent: Intent,
  freshness: Freshness,
  nodes: readonly NodeView[],
  nowMs: number,
): Decision {
  const primary = (reason: Reason): Decision => ({
    node: requirePrimary(nodes).name,
    role: 'primary',
    reason,
    lagMs: undefined,
  });
  if (intent === 'write') return primary('write');
  if (freshness.level === 'strong') return primary('strong');
  if (freshness.pinnedUntilMs !== undefined && nowMs < freshness.pinnedUntilMs) {
    return primary('read-after-write');
  }
  const replicas = nodes.filter((node) => node.role === 'replica');
  if (replicas.length === 0) return primary('no-replica');
  const [first, ...others] = replicas.filter((node) => node.state === 'fresh');
  if (first === undefined) return primary('no-fresh-replica');
  const chosen = others.reduce((best, node) => (node.load < best.load ? node : best), first);
  return { node: chosen.name, role: 'replica', reason: 'fresh', lagMs: chosen.lagMs };
}

function requirePrimary(nodes: readonly NodeView[]): NodeView {
  const primary = nodes.find((node) => node.role === 'primary');
  if (primary === undefined) throw new Error('route() needs a primary among the nodes');
  return primary;
}
