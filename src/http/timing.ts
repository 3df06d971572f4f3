import { ServerResponse } from 'node:http';
import type { Express, Request } from 'express';
import type { Clock } from '../clock.ts';

type WriteHead = (this: ServerResponse, ...args: unknown[]) => ServerResponse;

/**
 * `Server-Timing`: how long the answer took, and how much of it was spent waiting for PostgreSQL. Headers can be added
 * until writeHead and not after it, so that is where the time is read; once for the application, because a function per
 * response costs more than all else here.
 */
export function serverTiming(app: Express, clock: Clock): void {
  const writeHead = ServerResponse.prototype.writeHead as WriteHead;
  const timed: WriteHead = function (...args) {
    const { context } = this.req as unknown as Pick<Request, 'context'>;
    if (context !== undefined && !this.headersSent) {
      const totalMs = clock.monotonicMs() - context.startedAtMs;
      this.setHeader(
        'Server-Timing',
        `total;dur=${totalMs.toFixed(1)}, db;dur=${context.databaseMs.toFixed(1)}`,
      );
    }
    return writeHead.apply(this, args);
  };
  Object.assign(app.response, { writeHead: timed });
}
