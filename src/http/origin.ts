import type { Request } from 'express';
import type { Author, Origin } from '../db/index.ts';
import { requireActor } from './context.ts';

const longestUserAgent = 200;

/** Where a request came from, for the audit. The address is the client's as far as TRUST_PROXY lets us know it. */
export function originOf(req: Request): Origin {
  // As it is usually written: a socket that takes both families puts IPv4 addresses into IPv6.
  return {
    ip: req.ip?.replace(/^::ffff:(?=[\d.]+$)/, ''),
    userAgent: req.get('user-agent')?.slice(0, longestUserAgent),
  };
}

/** Who asks, for work outside of a tenant's scope. @throws AppError unauthenticated */
export function authorOf(req: Request): Author {
  return { actor: requireActor(req), requestId: req.context.requestId, origin: originOf(req) };
}
