import type { Duplex } from 'node:stream';
import { Connection, type PoolClient } from 'pg';
import { AppError } from '../errors.ts';

/**
 * Of a connection: ends the statement that runs for somebody who does not wait any more. PostgreSQL is asked on a connection of its own
 * (CancelRequest), which works through PgBouncer, too, and when the pool is exhausted.
 *
 * The request names a connection, not a statement, and arrives when it does. So that it cannot hit the work of somebody
 * else, a connection is never used again once its cancellation has been asked for.
 */
export class Watch {
  readonly #client: PoolClient;
  /** Looks up who may stop waiting; undefined while no statement runs. */
  #signal: (() => AbortSignal | undefined) | undefined;
  #rounds = 0;
  #watched: AbortSignal | undefined;
  #request: Promise<void> | undefined;
  readonly #limitMs: number;

  /**
   * @param limitMs a statement that takes longer costs the connection: it strikes where the server's own limit cannot,
   *   because the host is frozen or the network cut. 0: none does
   */
  constructor(client: PoolClient, limitMs: number) {
    this.#client = client;
    this.#limitMs = limitMs;
    watches.add(this);
    rounds ??= setInterval(goRound, graceMs / 2).unref();
    client.once('end', () => watches.delete(this));
  }

  /** The server has been asked to cancel a statement. */
  get asked(): boolean {
    return this.#request !== undefined;
  }

  /** A statement begins. @param signal looked up after the grace; undefined when nobody can stop waiting */
  begin(signal: () => AbortSignal | undefined): void {
    this.#signal = signal;
    this.#rounds = 0;
  }

  /**
   * The statement has ended.
   *
   * @returns undefined, or when the server has been asked to cancel it, what resolves when no request is under way
   */
  end(): Promise<void> | undefined {
    this.#signal = undefined;
    this.#watched?.removeEventListener('abort', this);
    this.#watched = undefined;
    return this.#request;
  }

  goRound(): void {
    if (this.#signal === undefined) return;
    this.#rounds += 1;
    if (this.#limitMs > 0 && (this.#rounds * graceMs) / 2 > this.#limitMs)
      streamOf(this.#client).destroy(new Error('Query read timeout'));
    if (this.#rounds < 3 || this.#watched !== undefined) return;
    this.#watched = this.#signal();
    if (this.#watched?.aborted) this.handleEvent();
    else this.#watched?.addEventListener('abort', this, { once: true });
  }

  /** The signal has been aborted. */
  handleEvent(): void {
    this.#request ??= requestCancel(this.#client);
  }
}

/**
 * A statement that ends within this is let be: most do, and asking costs two connections. Until then the signal is not
 * touched either, for making one costs more than all else here.
 */
export const graceMs = 100;
const patienceMs = 2000;

/** One timer for all connections: one for each statement costs more than all else here. */
const watches = new Set<Watch>();
let rounds: NodeJS.Timeout | undefined;

function goRound(): void {
  for (const watch of watches) watch.goRound();
  if (watches.size > 0) return;
  clearInterval(rounds);
  rounds = undefined;
}

/** What node-postgres knows of a connection and its types do not. */
interface Backend {
  processID: number | null;
  secretKey: number | null;
  sslNegotiation?: string;
}
interface Wire {
  connect(port: number, host?: string): void;
  connect(socketPath: string): void;
  requestSsl(): void;
  cancel(processID: number, secretKey: number): void;
}

function streamOf(client: PoolClient): Duplex {
  return (client as unknown as { connection: Connection }).connection.stream;
}

/** Resolves when the server has closed the connection, which it does once it has sent the signal. Never rejects. */
function requestCancel(client: PoolClient): Promise<void> {
  const { host, port, ssl } = client;
  const { processID, secretKey, sslNegotiation } = client as unknown as Backend;
  if (processID === null || secretKey === null) return Promise.resolve();
  // Connection takes what Client has been configured with.
  const connection = new Connection({ ssl, sslNegotiation } as object);
  const wire = connection as unknown as Wire;
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      connection.stream.destroy();
      resolve();
    };
    const timer = setTimeout(end, patienceMs);
    connection.on('error', end); // the statement then ends by its own limit
    connection.on('end', end);
    connection.on('connect', () => {
      if (!ssl) wire.cancel(processID, secretKey);
      else if (sslNegotiation !== 'direct') wire.requestSsl();
    });
    connection.on('sslconnect', () => wire.cancel(processID, secretKey));
    if (host.startsWith('/')) wire.connect(`${host}/.s.PGSQL.${port}`);
    else wire.connect(port, host);
  });
}

/** What work ends with that nobody waits for. The reason of the signal is an AppError where it was made by http. */
export function endedError(signal: AbortSignal | undefined, cause?: unknown): AppError {
  const { reason } = signal ?? {};
  const { code, message } = reason instanceof AppError ? reason : abandoned;
  return new AppError(code, message, cause === undefined ? {} : { cause });
}

const abandoned = new AppError('client_closed_request', 'Nobody waits for the answer any more.');
