import type { RequestHandler } from 'express';
import type { Clock } from '../clock.ts';

/** `Server-Timing`: how long the answer took, and how much of it was spent waiting for PostgreSQL. */
export function serverTiming(clock: Clock): RequestHandler {
  return (req, res, next) => {
    const writeHead = res.writeHead.bind(res) as (...args: unknown[]) => typeof res;
    // Headers can be added until this moment and not after it, so this is where the time is read.
    res.writeHead = ((...args: unknown[]) => {
      if (!res.headersSent) {
        const totalMs = clock.monotonicMs() - req.context.startedAtMs;
        res.setHeader(
          'Server-Timing',
          `total;dur=${totalMs.toFixed(1)}, db;dur=${req.context.databaseMs.toFixed(1)}`,
        );
      }
      return writeHead(...args);
    }) as typeof res.writeHead;
    next();
  };
}
