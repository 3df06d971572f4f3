import { setTimeout as pause } from 'node:timers/promises';
import { unavailable } from '../errors.ts';
import { bulkAccountOf } from './admission.ts';
import { createBudget } from './budget.ts';
import { endedError, graceMs } from './cancel.ts';
import { createSightingStore, type Sighting } from './consistency.ts';
import type { BulkOptions, Database, DatabaseOptions } from './contract.ts';
import { type Course, translated } from './course.ts';
import { createLastingUnits } from './lasting-units.ts';
import { limits } from './limits.ts';
import { createLookUp } from './look-up.ts';
import { createMonitor } from './monitor.ts';
import { doneOnce } from './once.ts';
import { tellStatements, timed } from './observer.ts';
import { readRemedy, remedyFor, translateError } from './pg-errors.ts';
import { createPools, type NodePool } from './pool.ts';
import { furthest, type Position } from './position.ts';
import { requireUnprivileged } from './privileges.ts';
import { drawApart, maxRuns } from './rerun.ts';
import {
  type Decision,
  type Demand,
  type NodeView,
  type Reason,
  type Role,
  explained,
  overBudget,
  requireNode,
  route,
} from './router.ts';
import type { TenantScope } from './scope.ts';
import type { ReadSession, WriteSession } from './session.ts';
import { createShares } from './shares.ts';
import { readUnit, sharedUnit, type Unit, type UnitOptions, writeOneUnit, writeUnit } from './transaction.ts';

export function createDatabase(options: DatabaseOptions): Database {
  const { clock, prepared, observer = {}, onIdleError } = options;
  const urls = [options.primaryUrl, ...options.replicaUrls];
  const choose = options.route ?? route;
  const pools = createPools(urls, onIdleError, { max: options.poolMax, limits: limits.serving });
  const shares = createShares(pools, options);
  const lastingUnits = createLastingUnits(options.poolMax);
  const spillover = createBudget({ perSecond: undefined, ...options.spillover, clock });
  const monitor = createMonitor({
    probes: createPools(urls, onIdleError, {
      max: 1,
      limits: limits.probe,
      // A primary that does not answer must be known to be lost before the last proof of its replicas is too old: until
      // then their reads would be sent to it, and wait there.
      queryTimeoutMs: Math.min(3000, Math.max(1000, 0.6 * options.maxReplicaLagMs)),
      maxAgeS: 30,
    }),
    loadOf: shares.load,
    maxLagMs: options.maxReplicaLagMs,
    clock,
    ...(options.onNodeChange === undefined ? {} : { onChange: options.onNodeChange }),
  });
  const { presentMs } = monitor;
  const monotonicMs = () => clock.monotonicMs();
  let soberUntilMs = 0;
  const sightings =
    options.sightings?.(presentMs) ??
    createSightingStore({ windowMs: options.readAfterWriteWindowMs, clock, presentMs });

  function poolOf(id: number): NodePool {
    const pool = pools[id];
    if (pool === undefined) throw new Error(`There is no server ${id}`);
    return pool;
  }

  /** The answer of memory is had at once, that of Redis is waited for. */
  function demandOf(scope: TenantScope): Demand | Promise<Demand> {
    const { level } = scope.consistency;
    if (level.kind !== 'session') return demandAfter(scope, undefined);
    const found = sightings.find(scope);
    if (!(found instanceof Promise)) return demandAfter(scope, found);
    return found.then((sighting) => demandAfter(scope, sighting));
  }

  function demandAfter({ tenant, consistency }: TenantScope, sighting?: Sighting): Demand {
    const { level, after } = consistency;
    // Of another timeline it says nothing: what a promotion has left out is looked up anew.
    const placed = tenant.since?.timeline === monitor.primaryTimeline() ? tenant.since : undefined;
    return {
      level,
      unknownWrite: sighting !== undefined && sighting.position === undefined,
      position: furthest(furthest(sighting?.position, after), placed),
      provenOnly: false,
    };
  }

  async function run<T>(
    scope: TenantScope,
    decision: Decision,
    unit: Unit,
    fn: (session: WriteSession) => Promise<T>,
    course: Course,
  ): Promise<T> {
    const { tenant, consistency } = scope;
    const { node } = decision;
    consistency.served?.(decision);
    const told = tellStatements(observer, node, decision.reason, scope);
    const askedMs = monotonicMs();
    let acquired = false;
    const tellAcquired = () => {
      if (!acquired) observer.acquired?.(node, monotonicMs() - askedMs);
      acquired = true;
    };
    const unitOptions: UnitOptions = {
      tenant,
      author: scope,
      schema: tenant.schema,
      prepared: prepared && course.runs === 1,
      monotonicMs,
      signal: () => scope.signal,
      role: decision.role,
      mustHave: decision.mustHave,
      sending() {
        tellAcquired();
        course.sending?.();
      },
      spent(databaseMs, name, error) {
        consistency.spent?.(databaseMs);
        told?.(databaseMs, name, error);
      },
      read: course.read,
      committed: course.committed,
    };
    // Whoever had to wait may have gone meanwhile.
    const requireStillWanted = () => {
      if (monotonicMs() - askedMs > graceMs && scope.signal?.aborted) throw endedError(scope.signal);
    };
    const isTrips = unit !== writeUnit && unitOptions.prepared;
    const begin = async (pool: NodePool): Promise<T> => {
      const trips = isTrips ? pool.roundTrips() : undefined;
      requireStillWanted();
      if (trips !== undefined) return sharedUnit(unit, trips, unitOptions, fn);
      return pool.withLease((lease) => {
        tellAcquired();
        requireStillWanted();
        return unit(lease, unitOptions, fn);
      });
    };
    try {
      const who = course.bulk === undefined ? scope : bulkAccountOf(scope, course.bulk);
      return await shares.within(decision.id, who, begin, { shares: isTrips, lasts: course.bulk?.lasting });
    } finally {
      tellAcquired();
    }
  }

  async function read<T>(scope: TenantScope, fn: (session: ReadSession) => Promise<T>): Promise<T> {
    const asked = demandOf(scope);
    let demand = sober(asked instanceof Promise ? await asked : asked);
    const failed: number[] = [];
    let why: Reason | undefined;
    let refreshed = false;
    let behind = 0;
    for (let runs = 1; ; ) {
      const decision = explained(requireNode(choose('read', demand, viewsWithout(failed))), why);
      if (decision.role === 'primary' && spills.has(decision.reason) && !spillover.take()) throw overBudget();
      try {
        const value = await run(scope, decision, readUnit, fn, {
          runs,
          read: (lsn) => noteRead(scope, decision, lsn),
        });
        if (decision.mustHave !== undefined) observer.checked?.(decision.node, true);
        observer.read?.(decision);
        return value;
      } catch (error) {
        const remedy = readRemedy(error, decision.role);
        if (remedy === 'none') observer.read?.(decision);
        if (remedy === 'none' || runs > pools.length + maxRuns) throw error;
        observer.retried?.(remedy);
        if (remedy === 'behind') {
          observer.checked?.(decision.node, false);
          const waitMs = patienceMs[behind];
          behind += 1;
          if (waitMs === undefined) {
            soberUntilMs = monotonicMs() + soberMs;
            failed.push(decision.id);
            why = remedy;
            demand = sober(demand);
          } else {
            await pause(waitMs);
          }
          continue;
        }
        runs += 1;
        if (remedy === 'rerun') continue;
        if (remedy === 'node-lost') monitor.reportLost(decision.id);
        if (decision.role === 'replica') {
          failed.push(decision.id);
          why = 'replica-failed';
        } else {
          // Replicas lose sight of a dying primary, and with it their proof, before we know that it is dead and that
          // nothing is committed any more; or another server is the primary by now.
          if (refreshed) throw error;
          refreshed = true;
          await monitor.refresh();
        }
      }
    }
  }

  /** When a replica has just been found to lag in earnest, nothing is sent there on the chance. */
  function sober(demand: Demand): Demand {
    return monotonicMs() < soberUntilMs ? { ...demand, provenOnly: true } : demand;
  }

  /** What is left to try; the primary always is. */
  function viewsWithout(failed: readonly number[]): readonly NodeView[] {
    const nodes = monitor.views();
    if (failed.length === 0) return nodes;
    return nodes.filter(({ id, role }) => role === 'primary' || !failed.includes(id));
  }

  function noteRead(scope: TenantScope, { id, role }: Decision, lsn: bigint): void {
    const { consistency } = scope;
    if (role === 'replica') monitor.reached(id, lsn);
    const timeline = monitor.primaryTimeline();
    if (timeline === undefined) return;
    const position = { timeline, lsn };
    if (consistency.level.kind === 'session') sightings.saw(scope, position);
    consistency.saw?.(position);
  }

  async function write<T>(
    unit: Unit,
    scope: TenantScope,
    fn: (session: WriteSession) => Promise<T>,
    bulk?: BulkOptions,
  ): Promise<T> {
    let sent = false;
    let committed: { position: Position | undefined } | undefined;
    const demand: Demand = { level: { kind: 'strong' }, unknownWrite: false, position: undefined };
    for (let runs = 1; ; runs += 1) {
      const decision = requireNode(choose('write', demand, monitor.views()));
      try {
        const value = await run(scope, decision, unit, fn, {
          runs,
          bulk,
          sending: () => {
            sent = true;
          },
          committed: (position) => {
            committed = { position };
          },
        });
        if (committed !== undefined) await noteWrite(scope, committed.position);
        return value;
      } catch (error) {
        const remedy = remedyFor(error, 'primary');
        // What may have been committed without our being told binds the reads that follow all the same.
        if (committed !== undefined || (remedy === 'node-lost' && sent)) {
          await noteWrite(scope, committed?.position);
        }
        if (runs === maxRuns || remedy === 'none') throw error;
        if (remedy === 'rerun' && bulk?.lasting !== true) {
          observer.retried?.(remedy);
          await drawApart(runs);
          continue;
        }
        if (remedy === 'node-lost') monitor.reportLost(decision.id);
        if (bulk?.lasting === true) throw error;
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

  /** What is done once is several statements, whatever it is without that. */
  async function writeOnce<T>(
    unit: Unit,
    scope: TenantScope,
    fn: (session: WriteSession) => Promise<T>,
    bulk?: BulkOptions,
  ) {
    const { once } = scope;
    return once === undefined
      ? write(unit, scope, fn, bulk)
      : write(writeUnit, scope, doneOnce(once, fn), bulk);
  }

  /** Without a position something may have been written, and where is not known. */
  async function noteWrite(scope: TenantScope, position: Position | undefined): Promise<void> {
    await sightings.wrote(scope, position);
    if (position !== undefined) scope.consistency.wrote?.(position);
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
    read: (scope, fn) => timed(clock, observer, 'read', read(scope, fn)),
    write: (scope, fn) => timed(clock, observer, 'write', writeOnce(writeUnit, scope, fn)),
    writeOne: (scope, fn) => timed(clock, observer, 'write-one', writeOnce(writeOneUnit, scope, fn)),
    writeBulk: (scope, fn, bulk = {}) =>
      timed(
        clock,
        observer,
        'write',
        lastingUnits.within(scope, bulk, () => writeOnce(writeUnit, scope, fn, bulk)),
      ),
    lookUp: createLookUp({ ...options, monitor, withLease: shares.withLease }),
    async ping() {
      const primary = monitor.views().find(({ role }) => role === 'primary');
      await translated(() => poolOf(primary?.id ?? 0).ask('select 1'));
    },
    nodes: () => monitor.details().map((node) => ({ ...node, ...shares.figures(node.id) })),
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

/** A replica usually is a moment behind. After these it is asked again, and then the primary is. */
const patienceMs = [2, 5, 10, 20];
/** For how long after all patience was in vain. */
const soberMs = 25;

/** Reasons for which the primary answers instead of a replica that has dropped out. */
const spills: ReadonlySet<Reason> = new Set(['no-fresh-replica', 'replica-failed']);
