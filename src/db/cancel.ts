import { Connection, type PoolClient } from 'pg';
import { AppError } from '../errors.ts';

/**
 * Ends the statement that runs for somebody who does not wait any more. PostgreSQL is asked on a connection of its own
 * (CancelRequest), which works through PgBouncer, too, and when the pool is exhausted.
 *
 * The request names a connection, not a statement, and arrives when it does. So that it cannot hit the work of somebody
 * else, a connection is never used again once its cancellation has been asked for.
 */
export interface Watch {
  /** Whether the server has been asked to cancel. */
  asked(): boolean;
  /** Resolves when no request is under way any more. */
  stop(): Promise<void>;
}

/**
 * A statement that ends within this is let be: most do, and asking costs two connections. Until then the signal is not
 * touched either, for making one costs more than all else here.
 */
export const graceMs = 100;
const patienceMs = 2000;

/** @param signal looked up after the grace; undefined when nobody can stop waiting */
export function cancelWhenEnded(client: PoolClient, signal: () => AbortSignal | undefined): Watch {
  let watched: AbortSignal | undefined;
  let request: Promise<void> | undefined;
  const ask = () => {
    request ??= requestCancel(client);
  };
  const timer = setTimeout(() => {
    watched = signal();
    if (watched?.aborted) ask();
    else watched?.addEventListener('abort', ask, { once: true });
  }, graceMs);

  return {
    asked: () => request !== undefined,
    async stop() {
      clearTimeout(timer);
      watched?.removeEventListener('abort', ask);
      await request;
    },
  };
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
