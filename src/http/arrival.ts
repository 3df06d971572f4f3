import type { Request, Response } from 'express';
import { AppError } from '../errors.ts';

/**
 * How bodies arrive. Those of bulk routes are left alone until the route asks for them, when it is known who sends them: they
 * are large. All others are read at once, and within a minute.
 */

/** Milliseconds, for a body that is not of a bulk route: a megabyte at 17 kB a second. */
const arrivalMs = 60_000;

/**
 * For how long the rest of a body is still taken after its answer, milliseconds: a connection that is closed on who is
 * still sending loses the answer, too (RFC 9112, section 9.6); one that is read for ever is a gift.
 */
const lingerMs = 2000;

/** Those that createResourceRoutes() has; paths match in any case. */
const bulkPath = /^\/v1\/[\w-]+\/bulk\/?$/i;

export function isBulk({ method, path }: Request): boolean {
  return method === 'POST' && bulkPath.test(path);
}

export function hasBody({ headers }: Request): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/**
 * To be called where a body begins to be read.
 *
 * @returns what is to be called when it has been: `next` is told of that, or that it took too long
 */
export function inTime(
  req: Request,
  res: Response,
  next: (error?: unknown) => void,
  withinMs = arrivalMs,
): (error?: unknown) => void {
  let over = false;
  const timer = setTimeout(() => {
    if (req.complete) return;
    over = true;
    dropRest(req, res);
    if (res.headersSent) req.socket.destroy();
    else next(tooSlow());
  }, withinMs);
  req.once('close', () => clearTimeout(timer));
  return (error) => {
    if (!over) next(error);
  };
}

/** What has not arrived when the answer has been sent is not waited for much longer. */
export function dropRest(req: Request, res: Response): void {
  const { socket } = req;
  res.once('finish', () => {
    if (req.complete) return;
    req.unpipe();
    req.removeAllListeners('readable');
    req.resume();
    // Once it is complete the connection may carry the next request.
    const timer = setTimeout(() => req.complete || socket.destroy(), lingerMs);
    req.once('close', () => clearTimeout(timer));
  });
}

export function tooSlow(detail = 'The body took too long to arrive.'): AppError {
  return new AppError('request_timeout', detail);
}
