import type { Request, RequestHandler } from 'express';
import { notValid } from '../auth/tokens.ts';
import { isUuid, slugPattern, type Tenant, type TenantScope } from '../db/index.ts';
import { AppError, tenantMigrating } from '../errors.ts';
import { unproven } from './consistency.ts';
import { originOf } from './origin.ts';
import type { TenantLimiter } from './rate-limit.ts';
import type { Step } from './steps.ts';

/** Finds a tenant by slug or id. Given by the control plane; http knows no tables. */
export type FindTenant = (slugOrId: string) => Promise<DirectoryEntry | undefined>;

export interface DirectoryEntry {
  readonly tenant: Tenant;
  /**
   * `migrating`: this build cannot serve the schema in which the tenant is. Nothing of it can be read then, not even who asks;
   * so it goes before `suspended`.
   */
  readonly status: 'active' | 'suspended' | 'migrating';
  /** Why it is migrating, for the log. */
  readonly why?: string;
}

/** Writes into the audit of a tenant that a request with a credential of its has named another one. */
export type ReportMismatch = (scope: TenantScope, claimed: string) => Promise<void>;

export interface TenantFinder {
  find: FindTenant;
  reportMismatch: ReportMismatch;
}

/**
 * The tenant comes from the verified credential. A header may repeat it; one that disagrees is refused and leaves an
 * event in the audit. Once known, the tenant is held to its requests per minute and at once.
 */
export function tenantOfCredential(finder: TenantFinder, limiter: TenantLimiter): Step {
  return async (req, res) => {
    const entry = await finder.find(String(res.locals['tenantId']));
    // A tenant that has been removed: its tokens prove nothing any more.
    if (entry === undefined) throw notValid();
    req.context.tenant = entry.tenant;
    // Not a step of its own: this one knows the tenant's limits. Before the header, for a refusal of that is an event.
    const counted = limiter.enter(entry.tenant, res);
    if (counted !== undefined) await counted;
    const claimed = requireClaimed(req, entry, finder);
    if (claimed instanceof Promise) await claimed;
  };
}

/** Before anything is read of the tenant. @throws AppError tenant_migrating */
export function requireServable(entry: DirectoryEntry | undefined): void {
  if (entry?.status === 'migrating') throw tenantMigrating(new Error(entry.why));
}

/**
 * The tenant of a credential, which must be active. A promise only of a refusal, which the audit hears of first.
 *
 * @throws AppError tenant_migrating; tenant_mismatch when X-Tenant-ID names another one; tenant_suspended
 */
export function requireClaimed(
  req: Request,
  entry: DirectoryEntry,
  finder: Pick<TenantFinder, 'reportMismatch'>,
): Tenant | Promise<never> {
  requireServable(entry); // its audit cannot be written either
  const { tenant, status } = entry;
  const named = tenantHeader(req);
  if (named !== undefined && named !== tenant.slug && named !== tenant.id) {
    return refuseMismatch(req, tenant, named, finder);
  }
  if (status !== 'active') throw suspended();
  return tenant;
}

async function refuseMismatch(
  req: Request,
  tenant: Tenant,
  claimed: string,
  { reportMismatch }: Pick<TenantFinder, 'reportMismatch'>,
): Promise<never> {
  const { requestId, traceId, actor = unproven } = req.context;
  req.log.warn(
    { audit: 'tenant_mismatch', requestId, trace_id: traceId, tenant: tenant.id, claimed },
    'X-Tenant-ID disagrees with the credential',
  );
  const consistency = { level: { kind: 'strong' } } as const;
  await reportMismatch({ tenant, actor, requestId, origin: originOf(req), consistency }, claimed).catch(
    // The refusal does not wait for better times; the line above stays.
    (error: unknown) => req.log.error({ requestId, err: error }, 'tenant_mismatch could not be audited'),
  );
  throw new AppError('tenant_mismatch', 'X-Tenant-ID names another tenant than the credential.');
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
    req.context.tenant = entry?.tenant;
    requireServable(entry);
    if (entry?.status === 'suspended') throw suspended();
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
