import type { Clock } from '../clock.ts';
import type { AdmissionFigures } from './admission.ts';
import type { SightingStore } from './consistency.ts';
import type { NodeDetail } from './monitor.ts';
import type { DatabaseObserver } from './observer.ts';
import type { PoolFigures } from './pool.ts';
import type { Position } from './position.ts';
import type { NodeView, route } from './router.ts';
import type { SchemaName, TenantScope } from './scope.ts';
import type { ReadSession, WriteSession } from './session.ts';

/** What `createDatabase` takes and gives; how it is done does not belong here. */

/** The data plane's database: one primary, any number of replicas, and the promise that a caller reads its writes. */
export interface Database {
  /**
   * A unit of work that only reads: one READ ONLY transaction on the node that `route()` names. When a replica fails
   * under it, it is run again on the primary, and the other way round where a replica will do; so `fn` may be called
   * twice.
   */
  read<T>(scope: TenantScope, fn: (session: ReadSession) => Promise<T>): Promise<T>;
  /**
   * A unit of work that may write: one transaction on the primary; its own reads are there, too. It is run again, at
   * most twice, when PostgreSQL rolled it back because of a deadlock or a serialization failure.
   */
  write<T>(scope: TenantScope, fn: (session: WriteSession) => Promise<T>): Promise<T>;
  /**
   * A write of exactly one statement, in one round trip with its commit. `fn` must not decide anything after it: what it
   * throws then comes too late to undo it. With `once` in the scope it is a transaction of several.
   */
  writeOne<T>(scope: TenantScope, fn: (session: WriteSession) => Promise<T>): Promise<T>;
  /**
   * As write, for a unit that writes very many rows. For admission it is on an account of its own, so that the other
   * work of the tenant is not taken for long because of it.
   *
   * @throws AppError unavailable as well for a unit that lasts when the tenant has one under way, or all tenants together
   *   hold a quarter of the connections with theirs
   */
  writeBulk<T>(
    scope: TenantScope,
    fn: (session: WriteSession) => Promise<T>,
    options?: BulkOptions,
  ): Promise<T>;
  /**
   * A look-up of the control plane's public views, without a tenant: on the primary, or on any replica while the
   * primary is gone or has no connection left for us.
   *
   * @param read told where the server was that answered
   */
  lookUp<Row extends object>(
    schema: SchemaName,
    text: string,
    values: readonly unknown[],
    read?: (position: Position) => void,
  ): Promise<Row[]>;
  /** Resolves when the primary answers. @throws AppError unavailable */
  ping(): Promise<void>;
  nodes(): NodeFigures[];
  /** Reads that the primary took over from replicas that had dropped out, and those that it was spared. */
  spillover(): { taken: number; refused: number };
  /** The identifier of the system that the servers belong to; undefined before the first has answered. */
  systemId(): string | undefined;
  /** For how long the primary has been lost, as far as windows are concerned: they stand still meanwhile. 0: it is there. */
  standstillMs(): number;
  /** @throws Error when the role could walk past row level security, or the primary cannot be reached */
  start(): Promise<void>;
  stop(): Promise<void>;
}

export interface BulkOptions {
  /** What it writes comes from outside while it is under way, and cannot be had twice: it is never run again. Default false. */
  lasting?: boolean;
}

export interface NodeFigures extends NodeDetail {
  /** `waiting` are all that wait, here or for admission. */
  readonly pool: PoolFigures;
  readonly admission: AdmissionFigures;
}

export interface DatabaseOptions {
  /** Of the role tenantry_app. */
  primaryUrl: string;
  replicaUrls: readonly string[];
  /** Connections per node. */
  poolMax: number;
  /** Statements are prepared once per connection. */
  prepared: boolean;
  /** For this long, reads of an actor must have reached what it has written or seen. */
  readAfterWriteWindowMs: number;
  /** A replica further behind is not read; at most readAfterWriteWindowMs. */
  maxReplicaLagMs: number;
  clock: Clock;
  /**
   * Makes the place where is kept what actors have seen; the memory of this process by default. It is given the clock of
   * windows: see SightingStoreOptions.
   */
  sightings?: (presentMs: () => number) => SightingStore;
  /**
   * What the primary takes over from replicas that have dropped out; the rest is refused. Default: all of it. Never
   * refused is what belongs to the primary: writes, `strong` reads, reads after a write of unknown position or one that
   * live replicas lack, and everything where no replica is configured.
   */
  spillover?: { perSecond: number | undefined; burst: number | undefined };
  /** Whether tenants get fair shares of the connections of each node; `off`: first come, first served. Default `fair`. */
  admission?: 'fair' | 'off';
  /** Units of work at once that are much longer than others, while others are about; default 1. */
  longUnitsMax?: number;
  /** How a node is chosen. Tests replace it, to see that they notice a choice that is wrong. */
  route?: typeof route;
  /** Told when a node changes its state. */
  onNodeChange?: (view: NodeView) => void;
  /** Told of connections lost while nobody used them. */
  onIdleError?: (error: Error, pool: string) => void;
  observer?: DatabaseObserver;
}
