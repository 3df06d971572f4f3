import type { Request, RequestHandler } from 'express';
import { isUuid, slugPattern, type Tenant } from '../db/index.ts';
import { AppError } from '../errors.ts';

/** Finds a tenant by slug or id. Given by the control plane; http knows no tables. */
export type FindTenant = (slugOrId: string) => Promise<DirectoryEntry | undefined>;

export interface DirectoryEntry {
  readonly tenant: Tenant;
  readonly status: 'active' | 'suspended';
}

/**
 * The tenant comes from the verified credential. A header may repeat it; one that disagrees is refused and leaves a
 * line for the auditor.
 */
export function tenantOfCredential(find: FindTenant): RequestHandler {
  return async (req, res, next) => {
    const entry = await find(String(res.locals['tenantId']));
    // A tenant that has been removed: its tokens prove nothing any more.
    if (entry === undefined) throw new AppError('unauthenticated', 'The access token is of no tenant.');
    req.context.tenant = requireClaimed(req, entry);
    next();
  };
}

/**
 * The tenant of a credential, which must be active.
 *
 * @throws AppError tenant_mismatch when X-Tenant-ID names another one, tenant_suspended
 */
export function requireClaimed(req: Request, entry: DirectoryEntry): Tenant {
  const { tenant, status } = entry;
  const named = tenantHeader(req);
  if (named !== undefined && named !== tenant.slug && named !== tenant.id) {
    const { requestId, traceId } = req.context;
    req.log.warn(
      { audit: 'tenant_mismatch', requestId, trace_id: traceId, tenant: tenant.id, claimed: named },
      'X-Tenant-ID disagrees with the credential',
    );
    throw new AppError('tenant_mismatch', 'X-Tenant-ID names another tenant than the credential.');
  }
  if (status !== 'active') throw suspended();
  return tenant;
}

/**
 * Before login there is no credential, and a header chooses the tenant. It gives access to nothing. An unknown tenant
 * is left undefined: login answers as for a wrong password, so that nobody learns who the customers are.
 */
export function tenantOfHeader(find: FindTenant): RequestHandler {
  return async (req, _res, next) => {
    const named = tenantHeader(req);
    if (named === undefined) {
      throw new AppError(
        'tenant_required',
        'A header X-Tenant-ID with the slug or id of the tenant is needed.',
      );
    }
    const entry = await find(named);
    if (entry !== undefined && entry.status !== 'active') throw suspended();
    if (entry !== undefined) req.context.tenant = entry.tenant;
    next();
  };
}

function suspended(): AppError {
  return new AppError('tenant_suspended', 'The tenant is suspended.');
}

function tenantHeader(req: Request): string | undefined {
  const named = req.get('x-tenant-id');
  if (named === undefined) return undefined;
  if (isUuid(named)) return named.toLowerCase();
  if (!slugPattern.test(named)) {
    throw new AppError('invalid_input', 'X-Tenant-ID must be the slug or the id of one tenant.');
  }
  return named;
}
