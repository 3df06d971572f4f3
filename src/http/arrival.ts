import type { Request, RequestHandler, Response } from 'express';
import { AppError } from '../errors.ts';

/**
 * How bodies arrive. Those of bulk routes are left alone until the route asks for them, when it is known who sends them: they
 * are large. All others are read at once, and within a minute.
 */

/** Milliseconds, for a body that is not of a bulk route: a megabyte at 17 kB a second. */
const arrivalMs = 60_000;

/**
 * For how long the rest of a body is still taken after its answer, milliseconds: a connection that is closed on who is
 * still sending loses the answer, too (RFC 9112, section 9.6).
 */
const lingerMs = 2000;

/** Those that `bulkRoutes` has; paths match in any case. */
const bulkPath = /^\/v1\/[\w-]+\/bulk\/?$/i;

export function isBulk({ method, path }: Request): boolean {
  return method === 'POST' && bulkPath.test(path);
}

/** @param read reads a body into `req.body`, unless it is of a bulk route */
export function onceArrived(read: RequestHandler): RequestHandler {
  return (req, res, next) => {
    if (isBulk(req)) {
      dropRest(req, res);
      read(req, res, next);
    } else if (hasBody(req)) {
      readInTime(read, req, res, next);
    } else {
      read(req, res, next);
    }
  };
}

function hasBody({ headers }: Request): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';
}

function readInTime(
  read: RequestHandler,
  req: Request,
  res: Response,
  next: (error?: unknown) => void,
): void {
  let over = false;
  const timer = setTimeout(() => {
    if (req.complete) return;
    over = true;
    dropRest(req, res);
    if (res.headersSent) req.socket.destroy();
    else next(tooSlow());
  }, arrivalMs);
  req.once('close', () => clearTimeout(timer));
  read(req, res, (error?: unknown) => {
    if (!over) next(error);
  });
}

/** What has not arrived when the answer has been sent is not waited for much longer. */
function dropRest(req: Request, res: Response): void {
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
