import type { Clock } from '../clock.ts';
import { furthest, type Position } from './position.ts';
import type { Decision } from './router.ts';
import type { TenantScope } from './scope.ts';

/**
 * How fresh the reads of a request must be.
 * `strong`: the primary answers.
 * `session`: the caller sees all it wrote and nothing older than it has seen; everything else may be as old as
 * MAX_REPLICA_LAG_MS.
 * `bounded`: nothing is older than `maxLagMs`.
 * `any`: whatever a replica has.
 */
export type Level =
  | { readonly kind: 'strong' | 'session' | 'any' }
  | { readonly kind: 'bounded'; readonly maxLagMs: number };

/** What a request asks for, and what came of it. One object per request. */
export interface Consistency {
  readonly level: Level;
  /** A position that the reads must have reached, brought by the client; the actor's own is known here. */
  readonly after?: Position | undefined;
  /** Told of every routing decision, before the work starts; the last one is what the client is told. */
  served?(decision: Decision): void;
  /** Told of the position of a write that has been committed. */
  wrote?(position: Position): void;
  /** Told of a position before which all lies that a read has shown. */
  saw?(position: Position): void;
  /** Told of the time spent waiting for PostgreSQL, in milliseconds. */
  spent?(databaseMs: number): void;
}

/** What an actor has written or seen within the window. */
export interface Sighting {
  /** Reads must have reached it. Undefined after a write of unknown position: only the primary will do. */
  readonly position: Position | undefined;
}

/**
 * Remembers what actors have seen, for one window each: after that every replica that is read at all has it. So the store
 * is as large as the number of actors active within the window.
 */
export interface SightingStore {
  /** What the reads of this (tenant, actor) must have reached; undefined when nothing has been seen lately. */
  find(scope: TenantScope): Promise<Sighting | undefined> | Sighting | undefined;
  /**
   * The actor has written up to `position`; undefined when it may have written something that was not told: then its
   * reads go to the primary for one window.
   */
  wrote(scope: TenantScope, position: Position | undefined): Promise<void> | void;
  /** The actor has read a node at `position`. */
  saw(scope: TenantScope, position: Position): void;
  size(): number;
}

interface Entry {
  position: Position | undefined;
  /** The end of the window after the last write of unknown position. */
  unknownUntilMs: number;
  untilMs: number;
}

export interface SightingStoreOptions {
  windowMs: number;
  clock: Clock;
  /**
   * The monotonic time up to which replicas have been judged; it stands still while the primary is lost, and so do the
   * windows. Always now by default.
   */
  presentMs?: () => number;
}

export function createSightingStore(options: SightingStoreOptions): SightingStore {
  const { windowMs, clock } = options;
  const presentMs = options.presentMs ?? (() => clock.monotonicMs());
  // All entries live equally long after their last change, so insertion order is expiry order.
  const entries = new Map<string, Entry>();

  function dropExpired(): void {
    const present = presentMs();
    for (const [key, { untilMs }] of entries) {
      if (untilMs > present) return;
      entries.delete(key);
    }
  }

  /** Written or seen comes to the same: reads must have reached it. */
  function note(scope: TenantScope, position: Position | undefined): void {
    if (windowMs === 0) return;
    const untilMs = clock.monotonicMs() + windowMs;
    const key = sightingKey(scope);
    const known = entries.get(key);
    // Committed before what is known of, so every replica that is read has it no later than that.
    if (position !== undefined && known?.position?.timeline === position.timeline) {
      if (known.position.lsn >= position.lsn) return;
    }
    entries.delete(key);
    dropExpired();
    entries.set(key, {
      position: furthest(known?.position, position),
      unknownUntilMs: position === undefined ? untilMs : (known?.unknownUntilMs ?? 0),
      untilMs,
    });
  }

  return {
    find(scope) {
      const entry = entries.get(sightingKey(scope));
      if (entry === undefined || entry.untilMs <= presentMs()) return undefined;
      const { position, unknownUntilMs } = entry;
      // By real time: the loss of the primary is what makes such writes, and must not keep their actors from reading.
      if (unknownUntilMs > clock.monotonicMs()) return { position: undefined };
      return position && { position };
    },
    wrote: note,
    saw: note,
    size: () => entries.size,
  };
}

export function sightingKey({ tenant, actor }: TenantScope): string {
  return `${tenant.id}/${actor.kind}/${actor.id}`;
}
