import type { RequestHandler } from 'express';
import { AppError } from '../errors.ts';

/**
 * Tells the work for a request when nobody waits for it any more: its client has gone, or its time is up. Then what runs
 * for it in PostgreSQL is cancelled.
 *
 * @param deadlineMs from the arrival of the request; undefined for none
 */
export function ending(deadlineMs: number | undefined): RequestHandler {
  return (req, res, next) => {
    const { ended } = req.context;
    const timer =
      deadlineMs === undefined
        ? undefined
        : setTimeout(() => ended.abort(new AppError('timeout', 'The request took too long.')), deadlineMs);
    res.once('close', () => {
      clearTimeout(timer);
      if (!res.writableFinished) {
        ended.abort(new AppError('client_closed_request', 'The client has closed the request.'));
      }
    });
    next();
  };
}
