import type { Request, RequestHandler } from 'express';
import type { Tokens } from '../auth/tokens.ts';
import { AppError } from '../errors.ts';

/** Makes the access token of a tenant's user into the request's actor and the id of its tenant. */
export function authenticateUser(tokens: Tokens): RequestHandler {
  return (req, res, next) => {
    const { userId, tenantId, role } = tokens.verifyUser(bearerToken(req));
    req.context.actor = { kind: 'user', id: userId, role };
    res.locals['tenantId'] = tenantId;
    next();
  };
}

/** Makes the access token of an operator into the request's actor. */
export function authenticateOperator(tokens: Tokens): RequestHandler {
  return (req, _res, next) => {
    const { operatorId } = tokens.verifyOperator(bearerToken(req));
    req.context.actor = { kind: 'platform', id: operatorId };
    next();
  };
}

/** RFC 6750. Node keeps the first of two Authorization headers; which one was meant is not ours to guess. */
function bearerToken(req: Request): string {
  const given = req.rawHeaders.filter((name, index) => index % 2 === 0 && /^authorization$/i.test(name));
  if (given.length > 1) throw new AppError('invalid_input', 'There is more than one Authorization header.');
  const token = /^Bearer ([\w.~+/=-]+)$/i.exec(req.get('authorization') ?? '')?.[1];
  if (token === undefined) {
    throw new AppError('unauthenticated', 'A header Authorization: Bearer <access token> is needed.');
  }
  return token;
}
