import type { ReadSession, SchemaName, WriteSession } from '../../../db/index.ts';
import { referringFirst } from '../purge/tables.ts';

/** Tables whose rows can be deleted softly, and what refers to them: found in the catalog, so that none is forgotten. */
export interface DeletableTable {
  schema: SchemaName;
  name: string;
  referrers: readonly { table: string; column: string }[];
}

/** Rows go before the rows they refer to. */
export async function findDeletableTables(
  session: ReadSession,
  schema: SchemaName,
): Promise<DeletableTable[]> {
  const tables = await session.query<{ name: string }>(
    `select c.relname as name from pg_class c
     where c.relnamespace = to_regnamespace($1) and c.relkind in ('r', 'p') and not c.relispartition
       and has_table_privilege(c.oid, 'delete')
       and 3 = (select count(*) from pg_attribute a where a.attrelid = c.oid and not a.attisdropped
         and a.attname in ('tenant_id', 'deleted_at', 'deletion_id'))
     order by 1`,
    [`"${schema}"`],
  );
  const references = await session.query<{ table: string; column: string; target: string }>(
    `select c.relname as table, a.attname as column, t.relname as target
     from pg_constraint f
     join pg_class c on c.oid = f.conrelid join pg_class t on t.oid = f.confrelid
     join unnest(f.conkey, f.confkey) as k(own, other) on true
     join pg_attribute a on a.attrelid = c.oid and a.attnum = k.own
     join pg_attribute b on b.attrelid = t.oid and b.attnum = k.other
     where f.contype = 'f' and c.relnamespace = to_regnamespace($1) and b.attname = 'id'`,
    [`"${schema}"`],
  );
  const targetsOf = ({ name }: { name: string }) =>
    references.filter(({ table, target }) => table === name && target !== name).map(({ target }) => target);
  return referringFirst(tables, targetsOf).map(({ name }) => ({
    schema,
    name,
    referrers: references.filter(({ target }) => target === name),
  }));
}

const quoted = (schema: string, name: string) => `"${schema}"."${name.replaceAll('"', '""')}"`;

/**
 * Deletes for good some of the tenant's rows that were deleted before a moment and that nothing refers to. What still has
 * a row that refers to it goes when that has gone.
 *
 * @param before ISO 8601
 * @returns how many; fewer than `batchRows` when there are none left
 */
export async function deleteExpired(
  session: WriteSession,
  { schema, name, referrers }: DeletableTable,
  { tenant, before, batchRows }: { tenant: string; before: string; batchRows: number },
): Promise<number> {
  const table = quoted(schema, name);
  const unreferred = referrers.map(
    (by) => ` and not exists (select from ${quoted(schema, by.table)} r
           where r.tenant_id = t.tenant_id and r."${by.column}" = t.id)`,
  );
  const [row] = await session.query<{ n: number }>(
    `with gone as (
       delete from ${table} where ctid = any(array(
         select ctid from ${table} t where t.tenant_id = $1 and t.deletion_id is not null and t.deleted_at < $2
           ${unreferred.join('')} limit $3)) and deletion_id is not null returning 1)
     select count(*) as n from gone`,
    [tenant, before, batchRows],
    {},
    `${name}.expire`,
  );
  return row?.n ?? 0;
}
