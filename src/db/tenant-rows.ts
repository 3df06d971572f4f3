import type { SchemaName, TenantId } from './scope.ts';
import type { ReadSession, WriteSession } from './session.ts';

/**
 * All rows of a tenant, table by table, whatever tables there are: what an export reads and an import writes. A value is
 * its PostgreSQL text, or null, so that nothing is lost on the way: no bigint, no microsecond, and no difference between
 * NULL and the null of JSON.
 */
export interface TableShape {
  name: string;
  /** In their order; without the tenant and without what PostgreSQL computes. */
  columns: ColumnShape[];
  /** Tables that rows of this one refer to; itself, too, where they do. */
  references: string[];
}

export interface ColumnShape {
  name: string;
  /** As PostgreSQL writes it. */
  type: string;
  isJson: boolean;
  /** A row cannot be inserted without it. */
  required: boolean;
}

/** The tenant tables of a schema, those first that others refer to. @throws Error when they refer to each other in a circle */
export async function tenantTables(
  session: Pick<ReadSession, 'query'>,
  schema: SchemaName,
): Promise<TableShape[]> {
  const tables = await session.query<TableShape>(
    `select c.relname::text as name,
       (select json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
           'isJson', coalesce(nullif(t.typbasetype, 0), t.oid) in ('json'::regtype, 'jsonb'::regtype),
           'required', a.attnotnull and not a.atthasdef and a.attidentity = '') order by a.attnum)
         from pg_attribute a join pg_type t on t.oid = a.atttypid
         where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
           and a.attname <> 'tenant_id') as columns,
       array(select distinct target.relname::text
         from pg_constraint f join pg_class target on target.oid = f.confrelid
         where f.conrelid = c.oid and f.contype = 'f' order by 1) as "references"
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and c.relkind in ('r', 'p') and not c.relispartition
       and exists (select from pg_attribute a
         where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped)
     order by c.relname`,
    [schema],
  );
  return inOrderOfReferences(tables);
}

function inOrderOfReferences(tables: readonly TableShape[]): TableShape[] {
  const ordered: TableShape[] = [];
  let waiting = [...tables];
  while (waiting.length > 0) {
    const ready = waiting.filter(({ name, references }) =>
      references.every((target) => target === name || !waiting.some((table) => table.name === target)),
    );
    if (ready.length === 0) {
      throw new Error(`These tables refer to each other: ${waiting.map(({ name }) => name).join(', ')}`);
    }
    ordered.push(...ready);
    waiting = waiting.filter((table) => !ready.includes(table));
  }
  return ordered;
}

/**
 * `COPY` of one tenant's rows of a table, a line each: `{"table":"…","row":{"column":"text"}}`. It is the CSV format
 * with marks that JSON cannot hold, so PostgreSQL quotes nothing and its bytes can be passed on as they are.
 */
export function copyRows(tenant: TenantId, schema: SchemaName, { name, columns }: TableShape): string {
  const values = columns.map((column) => `${quoted(column.name)}::text`).join(', ');
  const prefix = rowPrefix(name).replaceAll("'", "''");
  return `copy (select '${prefix}' || row_to_json(r)::text || '}'
    from (select ${values} from "${schema}".${quoted(name)} where tenant_id = '${tenant}') r)
    to stdout (format csv, delimiter E'\\x01', quote E'\\x02', encoding 'UTF8')`;
}

/** What the line of a row begins with; it ends with a brace. */
export function rowPrefix(table: string): string {
  return `{"table":${JSON.stringify(table)},"row":`;
}

/** Takes rows of one table, as JSON objects of text, for the tenant of its session. */
export interface RowLoader {
  /** @param rows a JSON array. @returns how many there were */
  load(rows: Buffer): Promise<number>;
  /** To be called after the last rows. */
  finish(): Promise<void>;
}

/**
 * @param session of the tenant; row level security holds it to that tenant's rows
 * @param columns those that the rows have
 */
export function rowLoader(
  session: WriteSession,
  table: TableShape,
  columns: readonly ColumnShape[],
): RowLoader {
  const { tenant } = session;
  if (tenant === undefined) throw new Error('Rows are loaded for a tenant');
  const names = columns.map(({ name }) => quoted(name));
  // The recordset reads a text by the input of the column's type, which refuses what does not fit; but JSON it would
  // take as a JSON string.
  const shape = columns
    .map(({ name, type, isJson }) => `${quoted(name)} ${isJson ? 'text' : type}`)
    .join(', ');
  const values = columns.map(({ name, type, isJson }) => `r.${quoted(name)}${isJson ? `::${type}` : ''}`);
  const insert = (from: string) =>
    `with kept as (
       insert into "${tenant.schema}".${quoted(table.name)} (${['tenant_id', ...names].join(', ')})
       select ${['$1::uuid', ...values].join(', ')} from ${from} as r(${shape}) returning 1)
     select count(*) as n from kept`;

  async function count(text: string, parameters: readonly unknown[], name: string): Promise<number> {
    const [row] = await session.query<{ n: number }>(text, parameters, {}, `${table.name}.${name}`);
    return row?.n ?? 0;
  }

  if (!table.references.includes(table.name)) {
    const text = insert('json_to_recordset($2::json)');
    return { load: (rows) => count(text, [tenant.id, rows], 'load'), finish: () => Promise.resolve() };
  }
  return throughStaging(session, tenant.id, insert, count);
}

/** Rows that refer to rows of their own table: all of them in one statement, after which PostgreSQL checks. */
function throughStaging(
  session: WriteSession,
  tenant: TenantId,
  insert: (from: string) => string,
  count: (text: string, parameters: readonly unknown[], name: string) => Promise<number>,
): RowLoader {
  let staged = 0;
  return {
    async load(rows) {
      if (staged === 0) {
        await session.query('drop table if exists pg_temp.staged');
        await session.query('create temporary table staged (rows json) on commit drop');
      }
      const text =
        'with kept as (insert into pg_temp.staged values ($1) returning rows) select json_array_length(rows) as n from kept';
      const taken = await count(text, [rows], 'stage');
      staged += taken;
      return taken;
    },
    async finish() {
      if (staged === 0) return;
      const from = 'pg_temp.staged s cross join json_to_recordset(s.rows)';
      if ((await count(insert(from), [tenant], 'load')) !== staged)
        throw new Error('Staged rows were not kept');
    },
  };
}

/** A name of the catalog, as SQL takes it. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
