import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Express } from 'express';
import { expressMessages } from './prototypes.ts';
import { refuseUnreadable, type Unreadable } from './unreadable.ts';

/** A listening application that can be stopped without failing a request that has reached it. */
export interface HttpServer {
  /** The port it listens on. */
  listen(port: number): Promise<number>;
  /**
   * Takes no new connections and waits for the requests under way; after `graceMs` they are cut off.
   *
   * @returns how many connections had to be cut off
   */
  close(graceMs: number): Promise<number>;
}

/** How often connections that have become idle are closed while draining. */
const sweepMs = 50;

/** What a connection may cost. Milliseconds, bytes. */
export const connectionLimits = {
  /** A load balancer must be the first to close an idle connection; the usual ones do after 60 s. */
  keepAliveTimeout: 65_000,
  /** From the first byte, or from connecting. */
  headersTimeout: 10_000,
  /** With the body. 0: how long that may take is up to its route, see arrival.ts. */
  requestTimeout: 0,
  /** How often the two above are looked at. Node looks every 30 s, which makes 40 of the 10. */
  connectionsCheckingInterval: 2000,
  /** Address and headers of one request. */
  maxHeaderSize: 16_384,
  /** One connection may carry requests for ever: an end would answer those that were sent ahead with 503. */
  maxRequestsPerSocket: 0,
};

export interface HttpServerOptions {
  /** Told of what never became a request. */
  unreadable?: (facts: Unreadable) => void;
  limits?: Partial<typeof connectionLimits>;
}

export function createHttpServer(
  app: Express,
  { unreadable = () => undefined, limits = {} }: HttpServerOptions = {},
): HttpServer {
  const { maxRequestsPerSocket, ...options } = { ...connectionLimits, ...limits };
  const server = createServer(
    {
      ...expressMessages(app),
      ...options,
      insecureHTTPParser: false, // not even when NODE_OPTIONS says so
      requireHostHeader: false, // the application refuses it, in its own words
    },
    app,
  );
  server.maxRequestsPerSocket = maxRequestsPerSocket;
  // More than the application takes, which sees so that there were too many; what is beyond this Node drops unseen.
  server.maxHeadersCount = 200;
  // Node would tell who asks to go on before anybody has looked at how much is to come, and answer what it does not know.
  server.on('checkContinue', app);
  server.on('checkExpectation', app);
  refuseUnreadable(server, unreadable);
  return {
    listen: (port) =>
      new Promise((resolve, reject) => {
        server.once('error', reject);
        server.listen(port, () => resolve((server.address() as AddressInfo).port));
      }),
    close: (graceMs) => drain(server, graceMs),
  };
}

async function drain(server: Server, graceMs: number): Promise<number> {
  if (!server.listening) return 0;
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  const sweep = setInterval(() => server.closeIdleConnections(), sweepMs);
  let cutOff = 0;
  const deadline = setTimeout(() => {
    server.getConnections((_error, count) => {
      cutOff = count;
      server.closeAllConnections();
    });
  }, graceMs);
  server.closeIdleConnections();
  await closed;
  clearInterval(sweep);
  clearTimeout(deadline);
  return cutOff;
}
