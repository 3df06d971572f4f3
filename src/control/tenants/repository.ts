import {
  isUuid,
  type Page,
  type PageRequest,
  type ReadSession,
  type Tenant,
  type WriteSession,
} from '../../db/index.ts';
import type { CreateTenant, TenantView } from './schema.ts';

const constraints = {
  tenants_slug_key: {
    code: 'slug_taken',
    detail: 'A tenant has this slug already.',
    pointer: '/slug',
  },
} as const;

const selection = `t.id, t.slug, t.name, t.isolation, t.status, t.limits, t.version,
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
