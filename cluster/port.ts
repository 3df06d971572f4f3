/** Ports on the loopback address. */
import { randomInt } from 'node:crypto';
import { connect, createServer } from 'node:net';

export const HOST = '127.0.0.1';

/**
 * Ports are drawn from below the ranges from which operating systems give ports to outgoing connections (32768 on
 * Linux, 49152 elsewhere). A port out of those could be taken by any client while its server is down, and a client
 * retrying a closed one can even connect to itself.
 */
const LOWEST = 20_000;
const HIGHEST = 32_000;
const ATTEMPTS = 200;

/** True when a server could listen there now. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ host: HOST, port, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}

/** A port that was free a moment ago and is none of `taken`. */
export async function findFreePort(taken: ReadonlySet<number>): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const port = randomInt(LOWEST, HIGHEST);
    if (!taken.has(port) && (await isFree(port))) return port;
  }
  throw new Error(`No free port found between ${LOWEST} and ${HIGHEST} on ${HOST}`);
}

/** True when nothing accepts connections there. */
export function isClosed(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: HOST, port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', () => resolve(true));
  });
}
