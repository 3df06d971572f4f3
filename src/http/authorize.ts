import type { RequestHandler } from 'express';
import { type Action, permits } from '../auth/roles.ts';
import type { Actor } from '../db/index.ts';
import { AppError } from '../errors.ts';
import { requireActor } from './context.ts';

/** Lets an actor through whose role and scopes allow it. @throws AppError forbidden */
export function authorize(action: Action, resource: string): RequestHandler {
  return (req, _res, next) => {
    requireMay(requireActor(req), action, resource);
    next();
  };
}

/** The same within a handler: one more handler in the way of a read costs more than the question. */
export function requireMay(actor: Actor, action: Action, resource: string): void {
  if (permits(actor, action, resource)) return;
  const words = actor.kind === 'key' ? 'The scopes of this key do not' : 'The role of this user does not';
  throw new AppError('forbidden', `${words} allow it.`);
}
