import { Pool, type PoolClient, type QueryConfig } from 'pg';
import { Watch } from './cancel.ts';
import { type Limits, serverSettings } from './limits.ts';
import { isServerError, remedyFor, Unsendable } from './pg-errors.ts';
import { createRoundTrips, type RoundTrips } from './round-trips.ts';
import { getTypeParser } from './types.ts';

/**
 * The only place where connections are made. A client is lent to a function and comes back checked: what is not
 * idle, or carries anything of the last unit of work, is destroyed and counted.
 */
export interface PoolOptions {
  /** `primary`, `replica-1`, …: told to clients and shown in logs. */
  name: string;
  url: string;
  /** Connections at most. */
  max: number;
  limits: Limits;
  /** Units of work that wait for a free connection at most; more are refused at once. Default 100 per connection. */
  maxWaiting?: number;
  /** The driver's own limit, which strikes when the server cannot: a frozen host, a cut network. Default 2000 more; 0: none. */
  queryTimeoutMs?: number;
  /** A connection older than this is replaced when it comes back. Default 1800. */
  maxAgeS?: number;
  applicationName?: string;
  /** Told of errors of connections that nobody is using at that moment; they are replaced by themselves. */
  onIdleError?: (error: Error, pool: string) => void;
}

/** A connection, as it is lent: the same object each time. */
export class Lease {
  readonly client: PoolClient;
  readonly watch: Watch;
  /** What every transaction must be told, because the connection has not been: a pooler stands before the server. */
  limits: Limits | undefined = undefined;
  /** The connection's own search_path, as it was before anybody used it; undefined until then. */
  searchPath: string | undefined = undefined;
  /** Told when the connection ends while it is lent. */
  onLost: (() => void) | undefined = undefined;
  #why: string | undefined = undefined;

  constructor(client: PoolClient, queryTimeoutMs: number) {
    this.client = client;
    this.watch = new Watch(client, queryTimeoutMs);
    client.once('end', () => this.onLost?.());
  }

  /** After an error. */
  taintBy(error: unknown): void {
    if (error instanceof Unsendable) return;
    // PostgreSQL's last words come before the connection ends; who took it in between would be lost with it.
    if (!isServerError(error) || remedyFor(error, 'primary') === 'node-lost')
      this.taint('the connection failed');
  }

  /** The connection must not be used by anybody else: it is destroyed when it comes back. */
  taint(why: string): void {
    this.#why ??= why;
  }

  get tainted(): boolean {
    return this.#why !== undefined;
  }

  /** @returns whether the connection is good for another unit of work */
  giveBack(): boolean {
    if (this.#why === undefined && this.client.getTransactionStatus() !== 'I')
      this.taint('a transaction is open');
    this.client.release(this.#why === undefined ? undefined : new Error(this.#why));
    return this.#why === undefined;
  }
}

export interface PoolFigures {
  max: number;
  inUse: number;
  idle: number;
  waiting: number;
  /** Connections destroyed on return because they were not clean. */
  tainted: number;
}

export interface NodePool {
  readonly name: string;
  withLease<T>(fn: (lease: Lease) => Promise<T>): Promise<T>;
  /**
   * For what needs a connection for one round trip only; undefined where every transaction must be told its limits, and
   * until that is known.
   */
  roundTrips(): RoundTrips | undefined;
  /** One statement outside of any unit of work. A connection on which it fails is not used again. */
  ask<Row extends object>(text: string): Promise<Row[]>;
  figures(): PoolFigures;
  /** Connections in use, and units of work that wait for one. */
  load(): number;
  /** Waits for borrowed connections. May be called twice. */
  end(): Promise<void>;
}

export function createPool(options: PoolOptions): NodePool {
  const { name, max, limits } = options;
  const maxWaiting = options.maxWaiting ?? 100 * max;
  const queryTimeoutMs = options.queryTimeoutMs ?? limits.statementMs + 2000;
  const leases = new WeakMap<PoolClient, Lease>();
  /** Which of the two is told the limits; undefined before the first connection. */
  let limitsOf: 'connection' | 'transaction' | undefined;
  let tainted = 0;
  let ended: Promise<void> | undefined;

  const pool = new Pool({
    connectionString: options.url,
    max,
    connectionTimeoutMillis: limits.acquireMs,
    idleTimeoutMillis: 60_000,
    maxLifetimeSeconds: options.maxAgeS ?? 1800,
    ...serverSettings(limits),
    application_name: options.applicationName ?? 'tenantry',
    keepAlive: true,
    types: { getTypeParser },
  });
  // Without this listener an idle connection that is lost would end the process. One that is lost while it is being
  // closed is what was wanted.
  pool.on('error', (error) => {
    if (ended === undefined) options.onIdleError?.(error, name);
  });
  // Without this one a connection that is lost between two statements of a unit of work would; the unit's next
  // statement fails and reports it.
  pool.on('connect', (client) => client.on('error', () => undefined));

  function leaseOf(client: PoolClient): Lease {
    let lease = leases.get(client);
    if (lease === undefined) {
      lease = new Lease(client, queryTimeoutMs);
      leases.set(client, lease);
    }
    lease.limits = limitsOf === 'transaction' ? limits : undefined;
    return lease;
  }

  /**
   * Limits travel with the start of a connection and then cost nothing. PgBouncer refuses such a start, or has been told
   * to ignore them; every transaction is told them then, and nobody has to configure anything.
   */
  async function firstConnection(): Promise<PoolClient> {
    try {
      const client = await pool.connect();
      await checkLimits(client);
      return client;
    } catch (error) {
      if (!isRefusedStart(error)) throw error;
      tellTransactions();
      return pool.connect();
    }
  }

  async function checkLimits(client: PoolClient): Promise<void> {
    try {
      const { rows } = await client.query<{ statementMs: string }>(
        bounded(`select setting as "statementMs" from pg_settings where name = 'statement_timeout'`),
      );
      const statementMs = Number(rows[0]?.statementMs);
      // A shorter one was asked for in the URL, and holds.
      if (statementMs > 0 && statementMs <= limits.statementMs) limitsOf ??= 'connection';
      else tellTransactions();
    } catch (error) {
      client.release(error as Error);
      throw error;
    }
  }

  function tellTransactions(): void {
    limitsOf = 'transaction';
    for (const setting of Object.keys(serverSettings(limits))) {
      Object.assign(pool.options, { [setting]: undefined });
    }
  }

  // The driver's own limit only strikes when the server cannot: a frozen host, a cut network.
  const bounded = (text: string): QueryConfig => Object.assign({ text }, { query_timeout: queryTimeoutMs });

  async function lend(): Promise<Lease> {
    return leaseOf(await (limitsOf === undefined ? firstConnection() : pool.connect()));
  }

  function giveBack(lease: Lease): void {
    if (!lease.giveBack()) tainted += 1;
  }

  const roundTrips = createRoundTrips({
    max,
    maxWaiting,
    acquireMs: limits.acquireMs,
    lend,
    giveBack,
    queued: () => pool.waitingCount,
  });

  async function withLease<T>(fn: (lease: Lease) => Promise<T>): Promise<T> {
    if (pool.waitingCount >= maxWaiting) throw new Error('Too many wait for a connection');
    const lease = roundTrips.spare() ?? (await lend());
    try {
      return await fn(lease);
    } finally {
      giveBack(lease);
    }
  }

  return {
    name,
    withLease,
    ask: <Row extends object>(text: string) =>
      withLease(async (lease) => {
        try {
          return (await lease.client.query<Row>(bounded(text))).rows;
        } catch (error) {
          lease.taint('the connection failed');
          throw error;
        }
      }),
    roundTrips: () => (limitsOf === 'connection' ? roundTrips : undefined),
    figures() {
      const { idle, waiting } = roundTrips.figures();
      return {
        max,
        inUse: pool.totalCount - pool.idleCount - idle,
        idle: pool.idleCount + idle,
        waiting: pool.waitingCount + waiting,
        tainted,
      };
    },
    load() {
      const { idle, waiting } = roundTrips.figures();
      return pool.totalCount - pool.idleCount - idle + pool.waitingCount + waiting;
    },
    end() {
      roundTrips.end();
      return (ended ??= pool.end());
    },
  };
}

/** One for each server, in the order of their URLs. */
export function createPools(
  urls: readonly string[],
  onIdleError: PoolOptions['onIdleError'],
  sizing: Pick<PoolOptions, 'max' | 'limits' | 'queryTimeoutMs' | 'maxAgeS'>,
): NodePool[] {
  return urls.map((url, id) =>
    createPool({
      name: `server ${id}`,
      url,
      ...sizing,
      ...(onIdleError === undefined ? {} : { onIdleError }),
    }),
  );
}

/** PgBouncer's answer to a setting that it does not know. PostgreSQL itself has no such words. */
function isRefusedStart(error: unknown): boolean {
  const { code, message = '' } = (error ?? {}) as { code?: string; message?: string };
  return code === '08P01' && message.includes('startup parameter');
}
