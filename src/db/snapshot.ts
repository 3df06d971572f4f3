import { setTimeout as pause } from 'node:timers/promises';
import { to as copyTo } from 'pg-copy-streams';
import { AppError, unavailable } from '../errors.ts';
import { runBatch, type Step } from './batch.ts';
import { endedError } from './cancel.ts';
import { limits } from './limits.ts';
import { isCancelled, ReplicaBehind, remedyFor, translateError } from './pg-errors.ts';
import { createPool, type Lease, type NodePool } from './pool.ts';
import type { NodeView } from './router.ts';
import { contextStep, plainTextStep, type Tenant } from './scope.ts';
import { quoted } from './tenant-rows.ts';

/**
 * One unchanging view of a tenant's rows, for as long as it takes to read all of them: a REPEATABLE READ, READ ONLY
 * transaction with the tenant's context, on connections of its own, for it may last an hour.
 */
export interface Snapshot {
  /** Where it is: `primary` or `replica-<n>`. */
  readonly node: string;
  query<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row[]>;
  /**
   * Runs `COPY … TO STDOUT` and gives what PostgreSQL sends, as it comes. PostgreSQL waits for whoever takes it: no more
   * than a few hundred kilobytes are ever held here.
   */
  copy(text: string): AsyncIterable<Buffer>;
}

export interface SnapshotOptions {
  /**
   * Tables of the tenant's schema that will be read. They are locked against DDL before the snapshot is taken: a table
   * that is rewritten after that looks empty to it.
   */
  tables: readonly string[];
  /** Aborted when nobody waits for it any more: the statement that runs is cancelled. */
  signal?: AbortSignal;
  /** Asked when a replica has failed: whether `fn` may be run again on another server. Default: it may not. */
  repeatable?: () => boolean;
  /** Replicas are left alone. */
  primaryOnly?: boolean;
}

export interface Snapshots {
  /**
   * Lends a snapshot that has everything that was acknowledged before the call: on a replica, once it has replayed as much
   * as the primary had flushed, else on the primary.
   *
   * @throws AppError unavailable when the primary cannot be asked for its position, or a replica gives up half-way
   */
  withSnapshot<T>(
    tenant: Tenant,
    options: SnapshotOptions,
    fn: (snapshot: Snapshot) => Promise<T>,
  ): Promise<T>;
  stop(): Promise<void>;
}

export interface SnapshotsOptions {
  /** Of the role tenantry_app, as for the database. */
  primaryUrl: string;
  replicaUrls: readonly string[];
  /** What is known of these servers, with their place in the list as id. */
  nodes: () => readonly NodeView[];
}

/** Per server: each lasts long, and holds back what vacuum may remove. Who finds both in use is refused. */
export const maxSnapshots = 2;
/** How long a replica may take to come level with the primary. */
const catchUpMs = 3000;
const pollMs = 20;
/** A server that lets us wait longer for the next bytes is given up. */
const silenceMs = 120_000;

const begin: Step = { text: 'begin isolation level repeatable read, read only' };
const commit: Step = { text: 'commit' };
// Flushed, as in contextStep: all that has been acknowledged has been.
const positionStep: Step = {
  text: 'select case when not pg_is_in_recovery() then pg_current_wal_flush_lsn() end::text as lsn',
};
const replayedStep = (lsn: string): Step => ({
  text: 'select pg_last_wal_replay_lsn() >= $1::pg_lsn as there',
  values: [lsn],
});

export function createSnapshots(options: SnapshotsOptions): Snapshots {
  const pools = [options.primaryUrl, ...options.replicaUrls].map((url, id) =>
    createPool({
      name: `server ${id}`,
      url,
      max: maxSnapshots,
      limits: limits.bulk,
      // The driver's limit knows nothing of COPY and would strike while rows are coming.
      queryTimeoutMs: 0,
      applicationName: 'tenantry-snapshot',
    }),
  );

  const poolOf = ({ id }: NodeView): NodePool => {
    const pool = pools[id];
    if (pool === undefined) throw new Error(`There is no server ${id}`);
    return pool;
  };

  async function withSnapshot<T>(
    tenant: Tenant,
    given: SnapshotOptions,
    fn: (snapshot: Snapshot) => Promise<T>,
  ): Promise<T> {
    const nodes = options.nodes();
    const primary = nodes.find(({ role }) => role === 'primary');
    if (primary === undefined) throw unavailable('No server takes writes at the moment.');
    const acknowledged = await positionOf(primary);
    const replicas = given.primaryOnly === true ? [] : readable(nodes);
    for (const replica of replicas) {
      try {
        return await poolOf(replica).withLease(async (lease) => {
          await untilReplayed(lease, acknowledged);
          return hold(lease, replica, tenant, given, fn);
        });
      } catch (error) {
        if (!isOfReplica(error)) throw translateError(error);
        if (given.repeatable?.() !== true) throw givenUp(error);
      }
    }
    try {
      return await poolOf(primary).withLease((lease) => hold(lease, primary, tenant, given, fn));
    } catch (error) {
      throw translateError(error);
    }
  }

  async function positionOf(primary: NodeView): Promise<string> {
    try {
      return await poolOf(primary).withLease(async (lease) => {
        const [row] = await send<{ lsn: string | null }>(lease, [positionStep]);
        if (!row?.lsn) throw unavailable('The database takes no writes at the moment.');
        return row.lsn;
      });
    } catch (error) {
      throw translateError(error);
    }
  }

  return {
    withSnapshot,
    async stop() {
      await Promise.all(pools.map((pool) => pool.end()));
    },
  };
}

/** The freshest first, then the idlest. One that is late may have come level by the time it is asked. */
function readable(nodes: readonly NodeView[]): NodeView[] {
  const late = ({ state }: NodeView) => (state === 'fresh' ? 0 : 1);
  return nodes
    .filter(({ role, state }) => role === 'replica' && (state === 'fresh' || state === 'stale'))
    .toSorted((one, other) => late(one) - late(other) || one.load - other.load);
}

/** Before the transaction: a snapshot stays where it was taken. @throws ReplicaBehind */
async function untilReplayed(lease: Lease, lsn: string): Promise<void> {
  const startedMs = performance.now();
  for (;;) {
    const [row] = await send<{ there: boolean | null }>(lease, [replayedStep(lsn)]);
    if (row?.there === true) return;
    if (performance.now() - startedMs > catchUpMs) throw new ReplicaBehind();
    await pause(pollMs);
  }
}

async function hold<T>(
  lease: Lease,
  node: NodeView,
  tenant: Tenant,
  { tables, signal }: SnapshotOptions,
  fn: (snapshot: Snapshot) => Promise<T>,
): Promise<T> {
  const names = tables.map((table) => `"${tenant.schema}".${quoted(table)}`).join(', ');
  const lock = names === '' ? [] : [{ text: `lock table ${names} in access share mode` }];
  try {
    // LOCK takes no snapshot; the context, the first SELECT, does.
    const context = contextStep({ tenant, schema: tenant.schema }, 'read', lease.limits);
    await send(lease, [begin, ...lock, context, plainTextStep]);
    const value = await fn({
      node: node.name,
      query: <Row extends object>(text: string, values: readonly unknown[] = []) =>
        send<Row>(lease, [{ text, values }]),
      copy: (text) => copy(lease, text, signal),
    });
    await send(lease, [commit]);
    return value;
  } catch (error) {
    lease.taint('a snapshot was not read to its end');
    throw error;
  }
}

/** @returns the rows of the last step */
async function send<Row extends object>(lease: Lease, steps: readonly Step[]): Promise<Row[]> {
  const results = await notSilent(lease, runBatch(lease.client, steps, false));
  return (results.at(-1)?.rows ?? []) as Row[];
}

async function* copy(
  lease: Lease,
  text: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer, void> {
  signal?.throwIfAborted();
  const stream = lease.client.query(copyTo(text));
  // The connection may be lost once more after the stream has ended with an error, and nobody else listens then.
  stream.on('error', () => undefined);
  const { watch } = lease;
  watch.begin(() => signal);
  const chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer, void>;
  let complete = false;
  try {
    for (;;) {
      const { done, value } = await notSilent(lease, chunks.next());
      if (done === true) break;
      yield value;
    }
    complete = true;
  } catch (error) {
    if (watch.asked && isCancelled(error)) throw endedError(signal, error);
    throw error;
  } finally {
    const cancelling = watch.end();
    if (!complete || cancelling !== undefined) lease.taint('a COPY was not taken to its end');
    await cancelling;
  }
}

/** The statement limit strikes where the server is alive; this one where it is frozen or the network is cut. */
async function notSilent<T>(lease: Lease, answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      lease.taint('the server is silent');
      reject(unavailable('The database does not answer.'));
    }, silenceMs);
  });
  try {
    return await Promise.race([answer, silence]);
  } finally {
    clearTimeout(timer);
  }
}

/** Another server may do better: this one is behind, lost, busy, or has cancelled the statement to go on replaying. */
function isOfReplica(error: unknown): boolean {
  const remedy = remedyFor(error, 'replica');
  return error instanceof ReplicaBehind || remedy === 'elsewhere' || remedy === 'node-lost';
}

function givenUp(cause: unknown): AppError {
  return new AppError(
    'unavailable',
    'The replica gave up half-way, and what is missing cannot be had elsewhere.',
    {
      cause,
      retryAfterS: 1,
    },
  );
}
