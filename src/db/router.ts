import { unavailable } from '../errors.ts';
import type { Level } from './consistency.ts';
import type { Position } from './position.ts';

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
  /** Which of the configured servers, from 0. */
  readonly id: number;
  /** `primary`, or `replica-<n>`; a role, so it moves to another server when that one is promoted. */
  readonly name: string;
  readonly role: Role;
  readonly state: NodeState;
  /** How far a replica is behind, milliseconds; undefined when not known, and for the primary. */
  readonly lagMs: number | undefined;
  /** It has all that was committed longer ago than this, milliseconds. */
  readonly provenMs: number | undefined;
  /** What it has replayed or, on the primary, inserted, when it was last asked. */
  readonly lsn: bigint | undefined;
  /** Of the primary. */
  readonly timeline: number | undefined;
  /** Units of work under way and waiting. */
  readonly load: number;
}

/** Told to the client in `Served-By`, logged and counted. A closed set. */
export const reasons = [
  /** a unit of work that may write */
  'write',
  /** the route or the caller asked for the primary */
  'strong',
  /** within the window the actor may have written something, and up to where is not known */
  'read-after-write',
  /** a replica that is fresh; the actor has seen nothing lately */
  'fresh',
  /** a replica that has all that the actor wrote or saw, or is asked for it in the round trip of the read */
  'caught-up',
  /** a replica within the bound of the route or caller */
  'bounded',
  /** any replica was good enough */
  'any',
  /** no replica is configured */
  'no-replica',
  /** there are replicas, and none is fresh enough */
  'no-fresh-replica',
  /** no replica has what the actor wrote or saw yet */
  'behind',
  /** what the actor saw was on another timeline, which cannot be compared */
  'other-timeline',
  /** the replica failed during the read; it was repeated elsewhere */
  'replica-failed',
] as const;
export type Reason = (typeof reasons)[number];

export interface Decision {
  readonly id: number;
  readonly node: string;
  readonly role: Role;
  readonly reason: Reason;
  /** Of the replica that answers, milliseconds. */
  readonly lagMs: number | undefined;
  /** The replica must prove, in the round trip of the read, that it has replayed this. */
  readonly mustHave: bigint | undefined;
}

export interface Demand {
  readonly level: Level;
  /** The actor may have written something within the window, and up to where is not known. */
  readonly unknownWrite: boolean;
  /** What the reads must have reached. */
  readonly position: Position | undefined;
  /** A replica has already said that it has not; no other is asked on the chance. Default false. */
  readonly provenOnly?: boolean;
}

/**
 * @param nodes at most one primary and any number of replicas
 * @returns undefined when only the primary will do and there is none
 */
export function route(intent: Intent, demand: Demand, nodes: readonly NodeView[]): Decision | undefined {
  const { level, unknownWrite, position, provenOnly = false } = demand;
  const primary = nodes.find((node) => node.role === 'primary');
  const onPrimary = (reason: Reason): Decision | undefined =>
    primary && {
      id: primary.id,
      node: primary.name,
      role: 'primary',
      reason,
      lagMs: undefined,
      mustHave: undefined,
    };

  if (intent === 'write') return onPrimary('write');
  if (level.kind === 'strong') return onPrimary('strong');
  const replicas = nodes.filter((node) => node.role === 'replica');
  if (replicas.length === 0) return onPrimary('no-replica');
  const usable = replicas.filter((node) => isGoodEnough(node, level));
  if (level.kind !== 'session' && position === undefined) {
    return onReplica(usable, level.kind === 'any' ? 'any' : 'bounded') ?? onPrimary('no-fresh-replica');
  }
  if (unknownWrite) return onPrimary('read-after-write');
  if (usable.length === 0) return onPrimary('no-fresh-replica');
  if (position === undefined) return onReplica(usable, 'fresh');
  if (primary?.timeline !== position.timeline) return onPrimary('other-timeline');
  const known = usable.filter((node) => (node.lsn ?? 0n) >= position.lsn);
  if (known.length > 0) return onReplica(known, 'caught-up', position.lsn);
  // What was known is as old as the last probe; a replica usually is a millisecond behind. So the one that was furthest
  // is asked, within the read, and only if it says no the primary.
  return (
    (provenOnly ? undefined : onReplica(furthestOf(usable), 'caught-up', position.lsn)) ?? onPrimary('behind')
  );
}

function furthestOf(nodes: readonly NodeView[]): NodeView[] {
  const [first, ...others] = nodes;
  if (first === undefined) return [];
  return [others.reduce((best, node) => ((node.lsn ?? 0n) > (best.lsn ?? 0n) ? node : best), first)];
}

function isGoodEnough({ state, provenMs }: NodeView, level: Level): boolean {
  if (level.kind === 'any') return state === 'fresh' || state === 'stale';
  if (level.kind === 'bounded') return state === 'fresh' && (provenMs ?? Infinity) <= level.maxLagMs;
  return state === 'fresh';
}

function onReplica(candidates: readonly NodeView[], reason: Reason, mustHave?: bigint): Decision | undefined {
  const [first, ...others] = candidates;
  if (first === undefined) return undefined;
  const { id, name, lagMs } = others.reduce((best, node) => (node.load < best.load ? node : best), first);
  return { id, node: name, role: 'replica', reason, lagMs, mustHave };
}

const fallbacks: ReadonlySet<Reason> = new Set(['no-replica', 'no-fresh-replica', 'behind']);

/** A read that ends on the primary because of what happened on a replica says so. */
export function explained(decision: Decision, why: Reason | undefined): Decision {
  return why !== undefined && fallbacks.has(decision.reason) ? { ...decision, reason: why } : decision;
}

/** @throws AppError unavailable without a decision */
export function requireNode(decision: Decision | undefined): Decision {
  if (decision === undefined) throw unavailable('No server takes writes at the moment.');
  return decision;
}

export function overBudget(): Error {
  return unavailable('Too few servers can answer at the moment.');
}
