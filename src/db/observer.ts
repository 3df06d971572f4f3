import type { Clock } from '../clock.ts';
import type { Remedy } from './pg-errors.ts';
import type { Decision, Reason } from './router.ts';
import type { TenantScope } from './scope.ts';

/**
 * What a program may want to know of its database, told as it happens. These are plain calls in the way of every
 * statement: they must be quick and must not throw. One that is absent costs nothing.
 */
export interface DatabaseObserver {
  /** A unit of work has ended, well or not; with all its runs and its waiting for a connection. */
  unit?(kind: UnitKind, ms: number): void;
  /** A read has ended on this node, chosen for this reason: with rows, or with an error that no other node would spare. */
  read?(decision: Decision): void;
  /** A replica was asked, within a read, whether it has replayed what the read needs; its answer counted if `held`. */
  checked?(node: string, held: boolean): void;
  /** A unit of work is run again because of this. */
  retried?(cause: RetryCause): void;
  /** A connection of this node was waited for, or waited for in vain. */
  acquired?(node: string, ms: number): void;
  statement?(facts: StatementFacts): void;
}

export type UnitKind = 'read' | 'write' | 'write-one';
export type RetryCause = Exclude<Remedy, 'none'> | 'behind';

/** One round trip. */
export interface StatementFacts {
  /** The table and what is done to it, such as `products.page`; never a value. */
  readonly name: string;
  /** `primary`, `replica-1`, …; `control` for the control plane's own connections. */
  readonly node: string;
  /** Undefined where nothing was chosen. */
  readonly reason: Reason | undefined;
  /** As seen from here: with the network, and with the time until this process took the answer. */
  readonly ms: number;
  /** Undefined outside of a tenant. */
  readonly scope: TenantScope | undefined;
  /** What PostgreSQL or the driver raised. Its message may hold values. */
  readonly error: unknown;
}

/** Told of each round trip of a unit of work. */
export type Spent = (databaseMs: number, name: string, error: unknown) => void;

/** @returns undefined when nobody listens */
export function tellStatements(
  observer: DatabaseObserver,
  node: string,
  reason?: Reason,
  scope?: TenantScope,
): Spent | undefined {
  if (observer.statement === undefined) return undefined;
  return (ms, name, error) => observer.statement?.({ name, node, reason, ms, scope, error });
}

/** Tells how long the work took that has just begun. */
export async function timed<T>(
  clock: Clock,
  observer: DatabaseObserver,
  kind: UnitKind,
  work: Promise<T>,
): Promise<T> {
  if (observer.unit === undefined) return work;
  const startedMs = clock.monotonicMs();
  try {
    return await work;
  } finally {
    observer.unit(kind, clock.monotonicMs() - startedMs);
  }
}
