import type { Clock } from '../clock.ts';
import type { Decision } from './router.ts';
import type { TenantScope } from './scope.ts';

/** How fresh the reads of a request must be, and what came of it. One object per request. */
export interface Consistency {
  /**
   * `strong`: the primary answers. `session`: the caller reads what it wrote, everything else may be as old as
   * MAX_REPLICA_LAG_MS.
   */
  readonly level: 'strong' | 'session';
  /** Told of every routing decision, before the work starts; the last one is what the client is told. */
  served?(decision: Decision): void;
  /** Told of the time spent waiting for PostgreSQL, in milliseconds. */
  spent?(databaseMs: number): void;
}

/**
 * Remembers for how long the reads of an actor go to the primary. Entries live for one window after the last write, so
 * the store is as large as the number of actors that wrote within it.
 */
export interface PinStore {
  /** From now on, for one window, reads of this (tenant, actor) go to the primary. */
  pin(scope: TenantScope): void;
  /** Monotonic milliseconds until which the actor is pinned, or undefined. */
  pinnedUntilMs(scope: TenantScope): number | undefined;
  size(): number;
}

export function createPinStore(options: { windowMs: number; clock: Clock }): PinStore {
  const { windowMs, clock } = options;
  // All entries live equally long, so insertion order is expiry order.
  const untilByActor = new Map<string, number>();

  function dropExpired(nowMs: number): void {
    for (const [key, untilMs] of untilByActor) {
      if (untilMs > nowMs) return;
      untilByActor.delete(key);
    }
  }

  return {
    pin(scope) {
      const nowMs = clock.monotonicMs();
      const key = keyOf(scope);
      untilByActor.delete(key);
      dropExpired(nowMs);
      if (windowMs > 0) untilByActor.set(key, nowMs + windowMs);
    },
    pinnedUntilMs: (scope) => untilByActor.get(keyOf(scope)),
    size: () => untilByActor.size,
  };
}

function keyOf({ tenant, actor }: TenantScope): string {
  return `${tenant.id}/${actor.kind}/${actor.id}`;
}
