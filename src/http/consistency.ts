import type { RequestHandler, Response } from 'express';
import {
  type Actor,
  type Consistency,
  type Decision,
  nobody,
  type Tenant,
  type TenantScope,
} from '../db/index.ts';
import { AppError } from '../errors.ts';
import { requireActor, type RequestContext } from './context.ts';

/**
 * Makes the scope that is passed down from here on, and tells the client which node answered and why.
 *
 * @param level how fresh the reads of these routes must be
 */
export function consistency(level: Consistency['level']): RequestHandler {
  return (req, res, next) => {
    const { tenant } = req.context;
    if (tenant === undefined) throw new AppError('tenant_required', 'The request names no tenant.');
    req.context.scope = scopeOf(tenant, requireActor(req), level, req.context, res);
    next();
  };
}

/**
 * As `consistency`, for a request that has no actor yet: a login, or a refresh of tokens. Only the primary is asked, for
 * an unknown tenant, too, so that the answer gives nothing away.
 */
export function sessionScope(
  context: RequestContext,
  tenant: Tenant | undefined,
  res: Response,
): TenantScope {
  return scopeOf(tenant ?? nobody, { kind: 'session', id: 'login' }, 'strong', context, res);
}

function scopeOf(
  tenant: Tenant,
  actor: Actor,
  level: Consistency['level'],
  context: RequestContext,
  res: Response,
): TenantScope {
  return {
    tenant,
    actor,
    consistency: {
      level,
      served(decision) {
        context.decision = decision;
        if (!res.headersSent) res.setHeader('Served-By', servedBy(decision));
      },
      spent(databaseMs) {
        context.databaseMs += databaseMs;
      },
    },
  };
}

/** An item with parameters by RFC 8941, such as `replica-1; reason=fresh; lag=3`; lag in milliseconds. */
function servedBy({ node, reason, lagMs }: Decision): string {
  return `${node}; reason=${reason}${lagMs === undefined ? '' : `; lag=${lagMs}`}`;
}
