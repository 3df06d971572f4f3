import type { Request } from 'express';
import { AppError } from '../errors.ts';
import type { Actor, Decision, Tenant, TenantScope } from '../db/index.ts';
import type { RequestTrace } from './observation.ts';

/** What is known about a request so far; each step of the way adds its part. */
export interface RequestContext {
  readonly requestId: string;
  readonly startedAtMs: number;
  /** Of the trace the request belongs to, if it is said to or somebody traces. */
  traceId: string | undefined;
  trace?: RequestTrace;
  /** The pattern of the route that took the request. */
  route: string | undefined;
  /** Milliseconds spent waiting for PostgreSQL. */
  databaseMs: number;
  /** Aborted when nobody waits for the answer any more. */
  readonly ended: AbortController;
  /** The last routing decision. */
  decision?: Decision;
  actor?: Actor;
  tenant?: Tenant;
  scope?: TenantScope;
}

declare module 'express-serve-static-core' {
  interface Request {
    context: RequestContext;
  }
}

/** @throws AppError unauthenticated when the route stands before authentication */
export function requireActor(req: Request): Actor {
  const { actor } = req.context;
  if (actor === undefined) throw new AppError('unauthenticated', 'An access token is needed.');
  return actor;
}

/** The tenant, actor and consistency of the request, to be passed down. @throws AppError tenant_required */
export function requireScope(req: Request): TenantScope {
  const { scope } = req.context;
  if (scope === undefined) throw new AppError('tenant_required', 'The request names no tenant.');
  return scope;
}
