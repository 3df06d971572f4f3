import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Express } from 'express';
import { expressMessages } from './prototypes.ts';

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

export function createHttpServer(app: Express): HttpServer {
  const server = createServer(
    {
      ...expressMessages(app),
      // A load balancer must be the first to close an idle connection; the usual ones do after 60 s.
      keepAliveTimeout: 65_000,
      headersTimeout: 10_000,
      requestTimeout: 60_000,
    },
    app,
  );
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
