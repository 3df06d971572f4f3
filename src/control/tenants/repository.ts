import {
  isUuid,
  type Page,
  type PageRequest,
  type ReadSession,
  type Tenant,
  tenantId,
  type WriteSession,
} from '../../db/index.ts';
import type { TenantStatus } from './lifecycle.ts';
import type { CreateTenant, PatchTenant, TenantView } from './schema.ts';

const constraints = {
  tenants_slug_key: {
    code: 'slug_taken',
    detail: 'A tenant has this slug already.',
    pointer: '/slug',
  },
} as const;

const selection = `t.id, t.slug, t.name, t.isolation, t.status, t.status_since as "statusSince",
  case when t.legal_hold is not null then jsonb_build_object('reason', t.legal_hold) end as "legalHold",
  case when t.moved_from is not null then jsonb_build_object('schema', t.moved_from, 'at',
    to_char(t.moved_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) end as "movedFrom",
  t.limits, t.canary, t.version,
  t.created_at as "createdAt", t.updated_at as "updatedAt",
  (select max(migration) from control.migration_ledger l where l.schema_name = t.schema_name) as "schemaVersion"`;

export async function insertTenant(
  session: WriteSession,
  tenant: Tenant,
  { name, limits }: Pick<CreateTenant, 'name' | 'limits'>,
): Promise<void> {
  await session.query(
    `insert into control.tenants (id, slug, name, isolation, schema_name, status, limits)
     values ($1, $2, $3, $4, $5, 'active', $6)`,
    [tenant.id, tenant.slug, name, tenant.isolation, tenant.schema, JSON.stringify(limits)],
    constraints,
  );
}

export async function findTenant(session: ReadSession, slugOrId: string): Promise<TenantView | undefined> {
  const rows = await session.query<TenantView>(
    `select ${selection} from control.tenants t where t.${isUuid(slugOrId) ? 'id' : 'slug'} = $1`,
    [slugOrId],
  );
  return rows[0];
}

/** What a change is decided from; nobody else changes the tenant until the transaction ends. */
export interface LockedTenant {
  tenant: Tenant;
  status: TenantStatus;
  priorStatus: TenantStatus | null;
  statusSince: string;
  legalHold: string | null;
}

export async function lockTenant(session: WriteSession, slugOrId: string): Promise<LockedTenant | undefined> {
  const [row] = await session.query<Omit<LockedTenant, 'tenant'> & Tenant & { schemaName: string }>(
    `select id, slug, isolation, schema_name as "schemaName", status, prior_status as "priorStatus",
       status_since as "statusSince", legal_hold as "legalHold"
     from control.tenants where ${isUuid(slugOrId) ? 'id' : 'slug'} = $1 for update`,
    [slugOrId],
  );
  if (row === undefined) return undefined;
  const { id, slug, isolation, schemaName: schema, ...standing } = row;
  return { tenant: { id: tenantId(id), slug, isolation, schema: schema as Tenant['schema'] }, ...standing };
}

export async function updateStatus(
  session: WriteSession,
  id: string,
  status: TenantStatus,
  priorStatus: TenantStatus | null,
): Promise<void> {
  await session.query(
    `update control.tenants set status = $2, prior_status = $3, status_since = now(), updated_at = now(),
       version = version + 1
     where id = $1`,
    [id, status, priorStatus],
  );
}

export async function updateTenant(session: WriteSession, id: string, patch: PatchTenant): Promise<void> {
  const { name, limits, legalHold, canary } = patch;
  await session.query(
    `update control.tenants set name = coalesce($2, name), limits = coalesce($3, limits),
       legal_hold = case when $4 then $5 else legal_hold end, canary = coalesce($6, canary),
       updated_at = now(), version = version + 1
     where id = $1`,
    [
      id,
      name ?? null,
      limits === undefined ? null : JSON.stringify(limits),
      legalHold !== undefined,
      legalHold?.reason ?? null,
      canary ?? null,
    ],
  );
}

/**
 * What is left of a tenant that has been purged: that there was one, and when. Its slug is free again, and its id stands
 * in the place, which no slug can look like.
 */
export async function becomeTombstone(session: WriteSession, id: string): Promise<void> {
  await session.query(
    `update control.tenants set status = 'purged', status_since = now(), updated_at = now(),
       version = version + 1, slug = id::text, name = '', limits = '{}', legal_hold = null,
       schema_name = case isolation when 'shared' then 'shared' else 'purged' end
     where id = $1`,
    [id],
  );
}

/** By time of creation. */
export async function pageOfTenants(
  session: ReadSession,
  { limit, sort, after }: PageRequest<TenantView>,
): Promise<Page<TenantView>> {
  const { direction } = sort;
  const beyond = direction === 'asc' ? '>' : '<';
  const rows = await session.query<TenantView>(
    `select ${selection} from control.tenants t
     where $2::timestamptz is null or (t.created_at, t.id) ${beyond} ($2::timestamptz, $3::uuid)
     order by t.created_at ${direction}, t.id ${direction} limit $1`,
    [limit + 1, after?.value ?? null, after?.id ?? null],
  );
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const more = rows.length > limit && last !== undefined;
  return { rows: shown, next: more ? { value: last.createdAt, id: last.id } : undefined };
}

export async function countTenants(session: ReadSession): Promise<number> {
  const rows = await session.query<{ n: number }>('select count(*) as n from control.tenants');
  return rows[0]?.n ?? 0;
}
