import { unavailable } from '../errors.ts';
import { createBudget } from './budget.ts';
import { endedError, graceMs } from './cancel.ts';
import { createSightingStore } from './consistency.ts';
import type { Database, DatabaseOptions } from './contract.ts';
import { controlUnit } from './control-database.ts';
import { limits } from './limits.ts';
import { createMonitor } from './monitor.ts';
import { stopwatch, tellStatements, timed } from './observer.ts';
import { NotPrimary, type Remedy, remedyFor, translateError } from './pg-errors.ts';
import { createPool, type Lease, type NodePool, type PoolOptions } from './pool.ts';
import { furthest, type Position } from './position.ts';
import { requireUnprivileged } from './privileges.ts';
import { drawApart, maxRuns } from './rerun.ts';
import { type Decision, type Demand, type Reason, type Role, route } from './router.ts';
import type { SchemaName, TenantScope } from './scope.ts';
import type { ReadSession, WriteSession } from './session.ts';
import {
  readUnit,
  ReplicaBehind,
  type Unit,
  type UnitOptions,
  writeOneUnit,
  writeUnit,
} from './transaction.ts';

export function createDatabase(options: DatabaseOptions): Database {
  const { clock, prepared, observer = {} } = options;
  const choose = options.route ?? route;
  const pools = makePools(options, { max: options.poolMax, limits: limits.serving });
  const spillover = createBudget({ perSecond: undefined, ...options.spillover, clock });
  const monitor = createMonitor({
    probes: makePools(options, {
      max: 1,
      limits: limits.probe,
      // A primary that does not answer must be known to be lost before the last proof of its replicas is too old: until
      // then their reads would be sent to it, and wait there.
      queryTimeoutMs: Math.min(3000, Math.max(1000, 0.6 * options.maxReplicaLagMs)),
      maxAgeS: 30,
    }),
    loadOf(id) {
      const figures = poolOf(id).figures();
      return figures.inUse + figures.waiting;
    },
    maxLagMs: options.maxReplicaLagMs,
    clock,
    ...(options.onNodeChange === undefined ? {} : { onChange: options.onNodeChange }),
  });
  const { presentMs } = monitor;
  const sightings =
    options.sightings?.(presentMs) ??
    createSightingStore({ windowMs: options.readAfterWriteWindowMs, clock, presentMs });

  function poolOf(id: number): NodePool {
    const pool = pools[id];
    if (pool === undefined) throw new Error(`There is no server ${id}`);
    return pool;
  }

  async function demandOf(scope: TenantScope): Promise<Demand> {
    const { level, after } = scope.consistency;
    if (level.kind !== 'session') return { level, wrote: false, position: after };
    const sighting = await sightings.find(scope);
    return {
      level,
      wrote: sighting !== undefined && sighting.position === undefined,
      position: furthest(sighting?.position, after),
    };
  }

  async function run<T>(
    scope: TenantScope,
    decision: Decision,
    unit: Unit,
    fn: (session: WriteSession) => Promise<T>,
    more: Partial<UnitOptions>,
  ): Promise<T> {
    const { tenant, consistency } = scope;
    consistency.served?.(decision);
    const told = tellStatements(observer, decision.node, decision.reason, scope);
    const acquired = stopwatch(clock, observer.acquired && ((ms) => observer.acquired?.(decision.node, ms)));
    const askedMs = clock.monotonicMs();
    try {
      return await withPool(decision.id, (lease) => {
        acquired();
        // Whoever had to wait for a connection may have gone meanwhile.
        if (clock.monotonicMs() - askedMs > graceMs && scope.signal?.aborted) throw endedError(scope.signal);
        return unit(
          lease,
          {
            tenant,
            schema: tenant.schema,
            prepared,
            spent: (databaseMs, name, error) => {
              consistency.spent?.(databaseMs);
              told?.(databaseMs, name, error);
            },
            monotonicMs: () => clock.monotonicMs(),
            signal: () => scope.signal,
            ...more,
          },
          fn,
        );
      });
    } finally {
      acquired();
    }
  }

  const withPool = <T>(id: number, fn: (lease: Lease) => Promise<T>): Promise<T> =>
    translated(() => poolOf(id).withLease(fn));

  async function read<T>(scope: TenantScope, fn: (session: ReadSession) => Promise<T>): Promise<T> {
    const demand = await demandOf(scope);
    let provenOnly = false;
    const failed = new Set<number>();
    let why: Reason | undefined;
    let refreshed = false;
    for (let runs = 1; ; runs += 1) {
      const nodes = monitor.views().filter(({ id, role }) => role === 'primary' || !failed.has(id));
      const decision = explained(requireNode(choose('read', { ...demand, provenOnly }, nodes)), why);
      if (decision.role === 'primary' && spills.has(decision.reason) && !spillover.take()) throw overBudget();
      try {
        const value = await run(scope, decision, readUnit, fn, {
          prepared: prepared && runs === 1,
          role: decision.role,
          mustHave: decision.mustHave,
          read: (lsn) => noteRead(scope, lsn),
        });
        if (decision.mustHave !== undefined) observer.checked?.(decision.node, true);
        observer.read?.(decision);
        return value;
      } catch (error) {
        const remedy = readRemedy(error, decision.role);
        if (remedy === 'none') observer.read?.(decision);
        if (remedy === 'behind') observer.checked?.(decision.node, false);
        if (remedy === 'none' || runs > pools.length + maxRuns) throw error;
        if (remedy === 'node-lost') monitor.reportLost(decision.id);
        if (decision.role === 'replica') {
          failed.add(decision.id);
          why = remedy === 'behind' ? 'behind' : 'replica-failed';
          provenOnly ||= remedy === 'behind';
        } else if (remedy !== 'rerun') {
          // Replicas lose sight of a dying primary, and with it their proof, before we know that it is dead and that
          // nothing is committed any more; or another server is the primary by now.
          if (refreshed) throw error;
          refreshed = true;
          await monitor.refresh();
        }
        observer.retried?.(remedy);
      }
    }
  }

  function noteRead(scope: TenantScope, lsn: bigint): void {
    const timeline = monitor.views().find(({ role }) => role === 'primary')?.timeline;
    if (timeline === undefined) return;
    if (scope.consistency.level.kind === 'session') sightings.saw(scope, { timeline, lsn });
    scope.consistency.saw?.({ timeline, lsn });
  }

  async function write<T>(
    unit: Unit,
    scope: TenantScope,
    fn: (session: WriteSession) => Promise<T>,
  ): Promise<T> {
    let sent = false;
    let committed: Position | undefined;
    const demand: Demand = { level: { kind: 'strong' }, wrote: false, position: undefined };
    for (let runs = 1; ; runs += 1) {
      const decision = requireNode(choose('write', demand, monitor.views()));
      try {
        const value = await run(scope, decision, unit, fn, {
          prepared: prepared && runs === 1,
          role: 'primary',
          sending: () => {
            sent = true;
          },
          committed: (position) => {
            committed = position;
          },
        });
        if (committed !== undefined) await noteWrite(scope, committed);
        return value;
      } catch (error) {
        const remedy = remedyFor(error, 'primary');
        // What may have been committed without our being told binds the reads that follow all the same.
        if (committed !== undefined || (remedy === 'node-lost' && sent)) await noteWrite(scope, committed);
        if (runs === maxRuns || remedy === 'none') throw error;
        if (remedy === 'rerun') {
          observer.retried?.(remedy);
          await drawApart(runs);
          continue;
        }
        if (remedy === 'node-lost') monitor.reportLost(decision.id);
        await monitor.refresh();
        // Run again only what was certainly not carried out, and only where there is another primary to try.
        const refused = remedy === 'not-primary' || !sent;
        const next = choose('write', demand, monitor.views());
        if (!refused || next === undefined || next.id === decision.id) throw error;
        sent = false;
        observer.retried?.(remedy);
      }
    }
  }

  /** Without a position something may have been written, and where is not known. */
  async function noteWrite(scope: TenantScope, position: Position | undefined): Promise<void> {
    await sightings.wrote(scope, position);
    if (position !== undefined) scope.consistency.wrote?.(position);
  }

  async function lookUp<Row extends object>(
    schema: SchemaName,
    text: string,
    values: readonly unknown[],
  ): Promise<Row[]> {
    const on = (id: number, node = 'primary') =>
      withPool(id, (lease) =>
        readUnit(lease, controlUnit(schema, prepared, clock, tellStatements(observer, node)), (session) =>
          session.query<Row>(text, values),
        ),
      );
    const nodes = monitor.views();
    const primary = nodes.find(({ role }) => role === 'primary');
    const replica = nodes.find(({ role, state }) => role === 'replica' && state === 'fresh');
    // Every request looks its tenant up: a primary that is lost, or whose connections are all in use, must not cost each
    // of them a time-out. What a replica does not know may be too new for it.
    const lost = primary?.state === 'down';
    if (replica !== undefined && primary !== undefined && (lost || primary.load >= options.poolMax)) {
      const rows = await on(replica.id, replica.name);
      if (lost || rows.length > 0) return rows;
    }
    try {
      const asked = on(primary?.id ?? 0);
      if (replica === undefined) return await asked;
      const rows = await orWhenLate(asked, () => on(replica.id, replica.name));
      return rows.length > 0 ? rows : await asked;
    } catch (error) {
      // Lost, or busy with writes.
      const remedy = remedyFor(error, 'replica');
      if (primary !== undefined && remedy === 'node-lost') monitor.reportLost(primary.id);
      if (replica === undefined || (remedy !== 'node-lost' && remedy !== 'elsewhere')) throw error;
      return on(replica.id, replica.name);
    }
  }

  /** A replica that is lost meanwhile keeps nobody from starting. */
  async function requireFit(id: number, role: Role): Promise<void> {
    try {
      await requireUnprivileged(poolOf(id));
    } catch (error) {
      if (role === 'replica' && remedyFor(error, role) === 'node-lost') return;
      throw translateError(error);
    }
  }

  return {
    read: (scope, fn) => timed(clock, observer, 'read', () => read(scope, fn)),
    write: (scope, fn) => timed(clock, observer, 'write', () => write(writeUnit, scope, fn)),
    writeOne: (scope, fn) => timed(clock, observer, 'write-one', () => write(writeOneUnit, scope, fn)),
    lookUp,
    async ping() {
      const primary = monitor.views().find(({ role }) => role === 'primary');
      await translated(() => poolOf(primary?.id ?? 0).ask('select 1'));
    },
    nodes: () => monitor.details().map((node) => ({ ...node, pool: poolOf(node.id).figures() })),
    spillover: () => spillover.figures(),
    systemId: () => monitor.systemId(),
    standstillMs: () => clock.monotonicMs() - presentMs(),
    async start() {
      await monitor.start();
      const reachable = monitor.views().filter(({ state }) => state !== 'down');
      if (reachable.length === 0) throw unavailable('The database cannot be reached.');
      if (!reachable.some(({ role }) => role === 'primary')) {
        throw unavailable('None of the servers that can be reached takes writes.');
      }
      // Each URL names its own role.
      for (const { id, role } of reachable) await requireFit(id, role);
    },
    async stop() {
      await monitor.stop();
      await Promise.all(pools.map((pool) => pool.end()));
    },
  };
}

/** How long a look-up waits for the primary before it asks a replica: a server that is cut off does not refuse. */
const patienceMs = 500;

async function orWhenLate<T>(asked: Promise<T>, otherwise: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, patienceMs);
  });
  return Promise.race([asked, late.then(otherwise)]).finally(() => clearTimeout(timer));
}

async function translated<T>(fn: () => Promise<T>): Promise<T> {
  try {
    return await fn();
  } catch (error) {
    throw translateError(error);
  }
}

/** Reasons for which the primary answers instead of a replica that has dropped out. */
const spills: ReadonlySet<Reason> = new Set(['no-fresh-replica', 'replica-failed']);

function overBudget(): Error {
  return unavailable('Too few servers can answer at the moment.');
}

function requireNode(decision: Decision | undefined): Decision {
  if (decision === undefined) throw unavailable('No server takes writes at the moment.');
  return decision;
}

/** A unit that reads and is refused with 25006 has tried to write: no other server will let it. */
function readRemedy(error: unknown, role: Role): Remedy | 'behind' {
  if (error instanceof ReplicaBehind) return 'behind';
  const remedy = remedyFor(error, role);
  return remedy === 'not-primary' && !((error as Error).cause instanceof NotPrimary) ? 'none' : remedy;
}

/** A read that ends on the primary because of what happened on a replica says so. */
function explained(decision: Decision, why: Reason | undefined): Decision {
  const fallback = ['no-replica', 'no-fresh-replica', 'behind'].includes(decision.reason);
  return why !== undefined && fallback ? { ...decision, reason: why } : decision;
}

type Sizing = Pick<PoolOptions, 'max' | 'limits' | 'queryTimeoutMs' | 'maxAgeS'>;

function makePools({ primaryUrl, replicaUrls, onIdleError }: DatabaseOptions, sizing: Sizing): NodePool[] {
  return [primaryUrl, ...replicaUrls].map((url, id) =>
    createPool({
      name: `server ${id}`,
      url,
      ...sizing,
      ...(onIdleError === undefined ? {} : { onIdleError }),
    }),
  );
}
