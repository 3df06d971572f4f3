import type { RequestHandler } from 'express';
import { type Action, may } from '../auth/roles.ts';
import { AppError } from '../errors.ts';
import { requireActor } from './context.ts';

/** Lets a user through whose role may do this. @throws AppError forbidden */
export function authorize(action: Action): RequestHandler {
  return (req, _res, next) => {
    if (!may(requireActor(req).role, action)) {
      throw new AppError('forbidden', 'The role of this user does not allow it.');
    }
    next();
  };
}
