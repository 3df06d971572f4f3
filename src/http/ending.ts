import type { Request, Response } from 'express';
import { AppError } from '../errors.ts';
import type { Step } from './steps.ts';

/**
 * The work for a request is told when nobody waits for it any more: its client has gone, or its time is up. Then what
 * runs for it in PostgreSQL is cancelled.
 *
 * @param deadlineMs from the arrival of the request
 */
export function deadline(deadlineMs: number): Step {
  return ({ context }, res) => {
    const end = () => context.end(new AppError('timeout', 'The request took too long.'));
    context.deadline = setTimeout(end, deadlineMs);
    res.once('close', () => clearTimeout(context.deadline));
  };
}

/** For what lasts as long as there is something to send: it ends with its client, or when that is too slow. */
export function withoutDeadline({ context }: Request): void {
  clearTimeout(context.deadline);
}

/** To be called when the connection or the answer has ended. */
export function endWithClient({ context }: Request, res: Response): void {
  if (!res.writableFinished) {
    context.end(new AppError('client_closed_request', 'The client has closed the request.'));
  }
}
