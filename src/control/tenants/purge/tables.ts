import { type ReadSession, type SchemaName, schemaName, type WriteSession } from '../../../db/index.ts';

/**
 * The tables that hold rows of tenants, wherever they are: found in the catalog, so that none is forgotten that was added
 * after this was written. Rows are deleted for good only here and in ../retention. Schemas that wait for a tenant hold none: see ../warm.ts.
 */
export interface HoldingTable {
  schema: SchemaName;
  name: string;
  /** The column that names the tenant: `tenant_id` in tables of the tenant ladder, `tenant` in the control plane. */
  column: string;
  /** tenantry_owner has taken the right to delete from itself, because rows are only ever added. */
  appendOnly: boolean;
}

/** `shared.users`; for the tenant's own schema, whose name tells its slug, `own.users`. */
export function placeOf({ schema, name }: HoldingTable, own: SchemaName): string {
  return `${schema === own && own !== 'shared' ? 'own' : schema}.${name}`;
}

/** Rows go before the rows they refer to. Tables of one schema stand together. */
export async function findHoldingTables(session: ReadSession): Promise<HoldingTable[]> {
  const tables = await session.query<{ schema: string; name: string; column: string; appendOnly: boolean }>(`
    select n.nspname as schema, c.relname as name, a.attname as column,
      not has_table_privilege(c.oid, 'delete') as "appendOnly"
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attname in ('tenant_id', 'tenant') and not a.attisdropped
    where c.relkind in ('r', 'p') and not c.relispartition and a.atttypid = 'uuid'::regtype
      and (n.nspname in ('control', 'shared') or n.nspname like 'tenant\\_%')
    order by 1, 2`);
  const references = await session.query<{ schema: string; from: string; to: string }>(`
    select n.nspname as schema, c.relname as from, t.relname as to
    from pg_constraint f
    join pg_class c on c.oid = f.conrelid join pg_class t on t.oid = f.confrelid
    join pg_namespace n on n.oid = c.relnamespace
    where f.contype = 'f' and f.conrelid <> f.confrelid and c.relnamespace = t.relnamespace
      and (n.nspname in ('control', 'shared') or n.nspname like 'tenant\\_%')`);
  const targets = new Map<string, string[]>();
  for (const { schema, from, to } of references) {
    targets.set(`${schema}.${from}`, [...(targets.get(`${schema}.${from}`) ?? []), to]);
  }
  const schemas = [...new Set(tables.map(({ schema }) => schema))];
  return schemas.flatMap((schema) =>
    referringFirst(
      tables.filter((table) => table.schema === schema),
      ({ name }) => targets.get(`${schema}.${name}`) ?? [],
    ).map((table) => ({ ...table, schema: schemaName(schema) })),
  );
}

/** In a circle of references there is no first: some order, and PostgreSQL will refuse what cannot be. */
export function referringFirst<T extends { name: string }>(
  tables: readonly T[],
  targetsOf: (table: T) => readonly string[],
): T[] {
  const ordered: T[] = [];
  let left = [...tables];
  while (left.length > 0) {
    const referred = new Set(left.flatMap(targetsOf));
    const free = left.filter(({ name }) => !referred.has(name));
    const next = free.length > 0 ? free : left;
    ordered.push(...next);
    left = left.filter((table) => !next.includes(table));
  }
  return ordered;
}

/** What the purge itself leaves behind: its job, and who wanted it. */
const kept: Readonly<Record<string, string>> = {
  'control.jobs': `kind = 'purge'`,
  'control.audit_events': `action in ('tenants.purge', 'tenants.purged')`,
};

function condition({ schema, name, column }: HoldingTable, parameter: string): string {
  const own = kept[`${schema}.${name}`];
  return `${column} = ${parameter}${own === undefined ? '' : ` and not (${own})`}`;
}

const quoted = ({ schema, name }: HoldingTable) => `"${schema}"."${name.replaceAll('"', '""')}"`;

/** What a tenant has in these tables, in their order; bytes are its share of the table and of its indexes. */
export async function measure(
  session: ReadSession,
  tables: readonly HoldingTable[],
  tenant: string,
): Promise<{ rows: number; bytes: number }[]> {
  if (tables.length === 0) return [];
  const each = tables.map(
    (table, index) => `
      select ${index} as place, rows, (rows * pg_total_relation_size(c.oid)
        / greatest(c.reltuples, rows, 1))::bigint as bytes
      from pg_class c, (select count(*) as rows from ${quoted(table)} where ${condition(table, '$1')}) t
      where c.oid = '${quoted(table).replaceAll("'", "''")}'::regclass`,
  );
  return session.query<{ rows: number; bytes: number }>(`${each.join(' union all ')} order by place`, [
    tenant,
  ]);
}

/** Deletes some of the tenant's rows. @returns how many; 0 when there are none left */
export async function deleteBatch(
  session: WriteSession,
  table: HoldingTable,
  tenant: string,
  batchRows: number,
): Promise<number> {
  // Granted and revoked in one transaction: nobody else ever sees the right.
  if (table.appendOnly) await session.query(`grant delete on ${quoted(table)} to current_user`);
  const [row] = await session.query<{ n: number }>(
    `with deleted as (
       delete from ${quoted(table)} where ctid = any(array(
         select ctid from ${quoted(table)} where ${condition(table, '$1')} limit $2)) returning 1)
     select count(*) as n from deleted`,
    [tenant, batchRows],
  );
  if (table.appendOnly) await session.query(`revoke delete on ${quoted(table)} from current_user`);
  return row?.n ?? 0;
}
