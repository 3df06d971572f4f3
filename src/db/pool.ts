import { Pool, type PoolClient } from 'pg';
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
  /** Waiting for a free connection, or for a new one, ends with an error after this. Default 5000. */
  acquireTimeoutMs?: number;
  /** Enforced by PostgreSQL. Default 15000; 0 switches it off. */
  statementTimeoutMs?: number;
  /** Enforced by PostgreSQL. Default 5000; 0 switches it off. */
  lockTimeoutMs?: number;
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
  /** The connection must not be used by anybody else: it is destroyed when it comes back. */
  taint(why: string): void;
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
  figures(): PoolFigures;
  /** Waits for borrowed connections. May be called twice. */
  end(): Promise<void>;
}

export function createPool(options: PoolOptions): NodePool {
  const { name, max } = options;
  const statementTimeoutMs = options.statementTimeoutMs ?? 15_000;
  const memories = new WeakMap<object, ConnectionMemory>();
  let tainted = 0;
  let ended: Promise<void> | undefined;

  const pool = new Pool({
    connectionString: options.url,
    max,
    connectionTimeoutMillis: options.acquireTimeoutMs ?? 5000,
    idleTimeoutMillis: 60_000,
    maxLifetimeSeconds: options.maxAgeS ?? 1800,
    statement_timeout: statementTimeoutMs,
    // The driver's own limit only strikes when the server cannot: a frozen host, a cut network.
    query_timeout: statementTimeoutMs === 0 ? 0 : statementTimeoutMs + 2000,
    lock_timeout: options.lockTimeoutMs ?? 5000,
    idle_in_transaction_session_timeout: 30_000,
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

  async function withLease<T>(fn: (lease: Lease) => Promise<T>): Promise<T> {
    const client = await pool.connect();
    let why: string | undefined;
    try {
      return await fn({
        client,
        connection: memoryOf(client),
        taint: (reason) => {
          why ??= reason;
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
