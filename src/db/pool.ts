import { Pool, type PoolClient } from 'pg';
import { type Limits, serverSettings } from './limits.ts';
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
  /** The driver's own limit, which strikes when the server cannot: a frozen host, a cut network. Default 2000 more. */
  queryTimeoutMs?: number;
  /** A connection older than this is replaced when it comes back. Default 1800. */
  maxAgeS?: number;
  applicationName?: string;
  /** Told of errors of connections that nobody is using at that moment; they are replaced by themselves. */
  onIdleError?: (error: Error, pool: string) => void;
}

/** A borrowed connection. */
export interface Lease {
  readonly client: PoolClient;
  readonly connection: ConnectionMemory;
  /** What every transaction must be told, because the connection has not been: a pooler stands before the server. */
  readonly limits: Limits | undefined;
  /** The connection must not be used by anybody else: it is destroyed when it comes back. */
  taint(why: string): void;
  readonly tainted: boolean;
}

/** What is remembered about a connection for as long as it lives. */
export interface ConnectionMemory {
  /** Its own search_path, as it was before anybody used it; undefined until then. */
  searchPath?: string | undefined;
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
  /** One statement outside of any unit of work. A connection on which it fails is not used again. */
  ask<Row extends object>(text: string): Promise<Row[]>;
  figures(): PoolFigures;
  /** Waits for borrowed connections. May be called twice. */
  end(): Promise<void>;
}

export function createPool(options: PoolOptions): NodePool {
  const { name, max, limits } = options;
  const maxWaiting = options.maxWaiting ?? 100 * max;
  const memories = new WeakMap<object, ConnectionMemory>();
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
    // The driver's own limit only strikes when the server cannot: a frozen host, a cut network.
    query_timeout: options.queryTimeoutMs ?? limits.statementMs + 2000,
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

  function memoryOf(client: object): ConnectionMemory {
    const memory = memories.get(client) ?? {};
    memories.set(client, memory);
    return memory;
  }

  /**
   * Limits travel with the start of a connection and then cost nothing. PgBouncer refuses such a start, or has been told
   * to ignore them; every transaction is told them then, and nobody has to configure anything.
   */
  async function connect(): Promise<PoolClient> {
    if (limitsOf !== undefined) return pool.connect();
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
        `select setting as "statementMs" from pg_settings where name = 'statement_timeout'`,
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

  async function withLease<T>(fn: (lease: Lease) => Promise<T>): Promise<T> {
    if (pool.waitingCount >= maxWaiting) throw new Error('Too many wait for a connection');
    const client = await connect();
    let why: string | undefined;
    try {
      return await fn({
        client,
        connection: memoryOf(client),
        limits: limitsOf === 'transaction' ? limits : undefined,
        taint: (reason) => {
          why ??= reason;
        },
        get tainted() {
          return why !== undefined;
        },
      });
    } finally {
      if (why === undefined && client.getTransactionStatus() !== 'I') why = 'a transaction is open';
      if (why !== undefined) tainted += 1;
      client.release(why === undefined ? undefined : new Error(why));
    }
  }

  return {
    name,
    withLease,
    ask: <Row extends object>(text: string) =>
      withLease(async ({ client, taint }) => {
        try {
          return (await client.query<Row>(text)).rows;
        } catch (error) {
          taint('the connection failed');
          throw error;
        }
      }),
    figures: () => ({
      max,
      inUse: pool.totalCount - pool.idleCount,
      idle: pool.idleCount,
      waiting: pool.waitingCount,
      tainted,
    }),
    end: () => (ended ??= pool.end()),
  };
}

/** PgBouncer's answer to a setting that it does not know. PostgreSQL itself has no such words. */
function isRefusedStart(error: unknown): boolean {
  const { code, message = '' } = (error ?? {}) as { code?: string; message?: string };
  return code === '08P01' && message.includes('startup parameter');
}
