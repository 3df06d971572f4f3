import type { Clock } from '../clock.ts';
import { createPinStore } from './consistency.ts';
import { createMonitor, type NodeDetail } from './monitor.ts';
import { createPool, type Lease, type NodePool, type PoolFigures } from './pool.ts';
import { remedyFor, translateError } from './pg-errors.ts';
import { requireUnprivileged } from './privileges.ts';
import { type Decision, type NodeView, route } from './router.ts';
import type { SchemaName, TenantScope } from './scope.ts';
import type { ReadSession, WriteSession } from './session.ts';
import { readUnit, type UnitOptions, writeOneUnit, writeUnit } from './transaction.ts';

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
   * throws then comes too late to undo it.
   */
  writeOne<T>(scope: TenantScope, fn: (session: WriteSession) => Promise<T>): Promise<T>;
  /**
   * A look-up of the control plane's public views, without a tenant: on the primary, or on any replica while the
   * primary is gone.
   */
  lookUp<Row extends object>(schema: SchemaName, text: string, values: readonly unknown[]): Promise<Row[]>;
  /** Resolves when the primary answers. @throws AppError unavailable */
  ping(): Promise<void>;
  nodes(): NodeFigures[];
  /** @throws Error when the role could walk past row level security, or the primary cannot be reached */
  start(): Promise<void>;
  stop(): Promise<void>;
}

export interface NodeFigures extends NodeDetail {
  readonly pool: PoolFigures;
}

export interface DatabaseOptions {
  /** Of the role tenantry_app. */
  primaryUrl: string;
  replicaUrls: readonly string[];
  /** Connections per node. */
  poolMax: number;
  /** Statements are prepared once per connection. */
  prepared: boolean;
  /** After a write, reads of the actor go to the primary for this long. */
  readAfterWriteWindowMs: number;
  /** A replica further behind is not read; at most readAfterWriteWindowMs. */
  maxReplicaLagMs: number;
  clock: Clock;
  /** Told when a node changes its state. */
  onNodeChange?: (view: NodeView) => void;
  /** Told of connections lost while nobody used them. */
  onIdleError?: (error: Error, pool: string) => void;
}

const maxRuns = 3;

export function createDatabase(options: DatabaseOptions): Database {
  const { clock, prepared } = options;
  const pools = makePools(options, { max: options.poolMax });
  const poolByName = new Map(pools.map((pool) => [pool.name, pool]));
  const pins = createPinStore({ windowMs: options.readAfterWriteWindowMs, clock });
  const monitor = createMonitor({
    probes: makePools(options, { max: 1, acquireTimeoutMs: 1000, statementTimeoutMs: 1000, maxAgeS: 30 }),
    loadOf: (name) => {
      const figures = requirePool(name).figures();
      return figures.inUse + figures.waiting;
    },
    maxLagMs: options.maxReplicaLagMs,
    clock,
    ...(options.onNodeChange === undefined ? {} : { onChange: options.onNodeChange }),
  });

  function requirePool(name: string): NodePool {
    const pool = poolByName.get(name);
    if (pool === undefined) throw new Error(`There is no node called ${name}`);
    return pool;
  }

  function decide(intent: 'read' | 'write', scope: TenantScope): Decision {
    const freshness = { level: scope.consistency.level, pinnedUntilMs: pins.pinnedUntilMs(scope) };
    return route(intent, freshness, monitor.views(), clock.monotonicMs());
  }

  async function run<T>(
    scope: TenantScope,
    decision: Decision,
    unit: Unit,
    fn: (session: WriteSession) => Promise<T>,
    usePrepared = prepared,
  ): Promise<T> {
    const { tenant, consistency } = scope;
    consistency.served?.(decision);
    const options: UnitOptions = {
      tenant,
      schema: tenant.schema,
      prepared: usePrepared,
      spent: (databaseMs) => consistency.spent?.(databaseMs),
      monotonicMs: () => clock.monotonicMs(),
    };
    return withPool(decision.node, (lease) => unit(lease, options, fn));
  }

  async function withPool<T>(name: string, fn: (lease: Lease) => Promise<T>): Promise<T> {
    try {
      return await requirePool(name).withLease(fn);
    } catch (error) {
      throw translateError(error);
    }
  }

  async function read<T>(scope: TenantScope, fn: (session: ReadSession) => Promise<T>): Promise<T> {
    const decision = decide('read', scope);
    const onPrimary = (why: Decision) =>
      rerunning((first) => run(scope, why, readUnit, fn, first && prepared));
    if (decision.reason === 'no-fresh-replica') {
      try {
        return await onPrimary(decision);
      } catch (error) {
        if (remedyFor(error, 'primary') !== 'node-lost') throw error;
        // Replicas lose sight of a dying primary, and with it their proof, before we know that it is dead and that
        // nothing is committed any more.
        await monitor.probePrimary();
        const onReplica = decide('read', scope);
        if (onReplica.role === 'primary') throw error;
        return run(scope, onReplica, readUnit, fn);
      }
    }
    if (decision.role === 'primary') return onPrimary(decision);
    try {
      return await run(scope, decision, readUnit, fn);
    } catch (error) {
      const remedy = remedyFor(error, 'replica');
      if (remedy === 'none') throw error;
      if (remedy === 'node-lost') monitor.reportLost(decision.node);
      const again: Decision = {
        node: 'primary',
        role: 'primary',
        reason: 'replica-failed',
        lagMs: undefined,
      };
      return onPrimary(again);
    }
  }

  async function writeAs<T>(
    unit: Unit,
    scope: TenantScope,
    fn: (session: WriteSession) => Promise<T>,
  ): Promise<T> {
    // Pinned before, so that a read beside this write is not older than it; and again at its end, whatever that was:
    // a unit that failed may have committed.
    pins.pin(scope);
    try {
      return await rerunning((first) => run(scope, decide('write', scope), unit, fn, first && prepared));
    } finally {
      pins.pin(scope);
    }
  }

  async function lookUp<Row extends object>(
    schema: SchemaName,
    text: string,
    values: readonly unknown[],
  ): Promise<Row[]> {
    const on = (node: string) =>
      withPool(node, (lease) =>
        readUnit(lease, controlUnit(schema, prepared, clock), (session) => session.query<Row>(text, values)),
      );
    try {
      return await on('primary');
    } catch (error) {
      const replica = monitor.views().find((view) => view.role === 'replica' && view.state === 'fresh');
      if (replica === undefined || remedyFor(error, 'primary') !== 'node-lost') throw error;
      return on(replica.name);
    }
  }

  async function requireFit(name: string): Promise<void> {
    try {
      await requireUnprivileged(requirePool(name));
    } catch (error) {
      if (name !== 'primary' && remedyFor(error, 'replica') === 'node-lost') return;
      throw translateError(error);
    }
  }

  return {
    read,
    write: (scope, fn) => writeAs(writeUnit, scope, fn),
    writeOne: (scope, fn) => writeAs(writeOneUnit, scope, fn),
    lookUp,
    async ping() {
      await withPool('primary', ({ client }) => client.query('select 1'));
    },
    nodes: () => monitor.details().map((node) => ({ ...node, pool: requirePool(node.name).figures() })),
    async start() {
      await requireFit('primary');
      await monitor.start();
      // Each URL names its own role. A replica that does not answer keeps nobody from starting.
      const replicas = monitor.views().filter((view) => view.role === 'replica' && view.state !== 'down');
      for (const replica of replicas) await requireFit(replica.name);
    },
    async stop() {
      await monitor.stop();
      await Promise.all(pools.map((pool) => pool.end()));
    },
  };
}

/** The control plane's way to its own tables: the role tenantry_owner, on the primary, outside the serving pools. */
export interface ControlDatabase {
  read<T>(fn: (session: ReadSession) => Promise<T>): Promise<T>;
  write<T>(fn: (session: WriteSession) => Promise<T>): Promise<T>;
  stop(): Promise<void>;
}

export interface ControlDatabaseOptions {
  /** Of the role tenantry_owner; direct, never through a pooler. */
  url: string;
  schema: SchemaName;
  clock: Clock;
  /** Default 4: the control plane is small and must leave connections to the data plane. */
  poolMax?: number;
  onIdleError?: (error: Error, pool: string) => void;
}

export function createControlDatabase(options: ControlDatabaseOptions): ControlDatabase {
  const { schema, clock } = options;
  const pool = createPool({
    name: 'control',
    url: options.url,
    max: options.poolMax ?? 4,
    applicationName: 'tenantry-control',
    ...(options.onIdleError === undefined ? {} : { onIdleError: options.onIdleError }),
  });

  async function run<T>(unit: Unit, fn: (session: WriteSession) => Promise<T>): Promise<T> {
    try {
      return await pool.withLease((lease) => unit(lease, controlUnit(schema, false, clock), fn));
    } catch (error) {
      throw translateError(error);
    }
  }

  return {
    read: (fn) => run(readUnit, fn),
    write: (fn) => rerunning(() => run(writeUnit, fn)),
    stop: () => pool.end(),
  };
}

type Unit = <T>(lease: Lease, options: UnitOptions, fn: (session: WriteSession) => Promise<T>) => Promise<T>;

function controlUnit(schema: SchemaName, prepared: boolean, clock: Clock): UnitOptions {
  return {
    tenant: undefined,
    schema,
    prepared,
    spent: () => undefined,
    monotonicMs: () => clock.monotonicMs(),
  };
}

/** Runs a unit of work again when PostgreSQL rolled all of it back and a repeat can succeed. */
async function rerunning<T>(unit: (first: boolean) => Promise<T>): Promise<T> {
  for (let runs = 1; ; runs += 1) {
    try {
      return await unit(runs === 1);
    } catch (error) {
      const remedy = remedyFor(error, 'primary');
      if (remedy !== 'rerun' || runs === maxRuns) throw error;
    }
  }
}

type PoolSizing = Pick<
  Parameters<typeof createPool>[0],
  'max' | 'acquireTimeoutMs' | 'statementTimeoutMs' | 'maxAgeS'
>;

function makePools(options: DatabaseOptions, sizing: PoolSizing): [NodePool, ...NodePool[]] {
  const make = (name: string, url: string) =>
    createPool({
      name,
      url,
      ...sizing,
      ...(options.onIdleError === undefined ? {} : { onIdleError: options.onIdleError }),
    });
  return [
    make('primary', options.primaryUrl),
    ...options.replicaUrls.map((url, index) => make(`replica-${index + 1}`, url)),
  ];
}
