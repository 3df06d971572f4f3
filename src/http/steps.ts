import type { Request, RequestHandler, Response } from 'express';

/**
 * Something that is done with every request before its route sees it. Throws, or rejects with, what the request is
 * refused with.
 */
export type Step = (req: Request, res: Response) => void | Promise<void>;

/**
 * All steps, one after the other, and then what follows, as one handler: a layer of Express's router costs more than most
 * steps do, and what is mounted below a path costs several times as much.
 */
export function inOrder(steps: readonly Step[], last: RequestHandler): RequestHandler {
  const handle: RequestHandler = async (req, res, next) => {
    for (const step of steps) {
      const pending = step(req, res);
      if (pending !== undefined) await pending;
    }
    await last(req, res, next);
  };
  return Object.assign(handle, { last }); // to be seen by those who look for all routes
}
