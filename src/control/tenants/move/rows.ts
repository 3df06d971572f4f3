import { type ReadSession, type TableShape, type Tenant, type WriteSession } from '../../../db/index.ts';

/**
 * The rows of one tenant in two schemas: copied, brought up to date, compared. Sessions are in the context of the tenant,
 * for row level security is forced on tenantry_owner, too.
 *
 * What has changed is told by `xmin`, the transaction that wrote a row, and not by updated_at: that is the time at which a
 * transaction began, and not every table keeps it. A row that a snapshot does not show was written by a transaction that
 * is not below the snapshot's xmin, whatever column was changed.
 */
export interface Route {
  tenant: Tenant;
  /** Schemas. */
  from: string;
  to: string;
}

/** Everything that this shows has been there before transaction `xid`; what comes is from there on. */
export async function horizonOf(session: ReadSession): Promise<string> {
  const [row] = await session.query<{ xid: string }>(
    'select pg_snapshot_xmin(pg_current_snapshot())::text as xid',
  );
  return row?.xid ?? '0';
}

/** Copies some rows, in the order of ids. @returns how many, and the last of them; undefined: there are no more */
export async function copyBatch(
  session: WriteSession,
  { tenant, from, to }: Route,
  { name, columns }: TableShape,
  after: string | null,
  batchRows: number,
): Promise<{ rows: number; last: string } | undefined> {
  const names = listed(columns);
  const [row] = await session.query<{ rows: number; last: string | null }>(
    `with copied as (
       insert into ${place(to, name)} (tenant_id, ${names})
       select tenant_id, ${names} from ${place(from, name)}
       where tenant_id = $1 and ($2::uuid is null or id > $2) order by id limit $3
       returning id)
     select (select count(*) from copied) as rows, (select id from copied order by id desc limit 1) as last`,
    [tenant.id, after, batchRows],
    {},
    `${name}.move`,
  );
  const last = row?.last ?? undefined;
  return row === undefined || last === undefined ? undefined : { rows: row.rows, last };
}

/** What a table of the source holds, in one look at all rows of the tenant. */
export interface Changes {
  /** Written since the horizon. */
  ids: string[];
  /** All there are. */
  rows: number;
}

export async function changesSince(
  session: ReadSession,
  { tenant, from }: Route,
  { name }: TableShape,
  horizon: string,
): Promise<Changes> {
  // Numbers of transactions go round after 2^32; newer is what is less than half of that ahead.
  const [row] = await session.query<Changes>(
    `select count(*) as rows, coalesce(json_agg(id) filter (
       where (xmin::text::bigint - $2::bigint) & 4294967295 < 2147483648), '[]') as ids
     from ${place(from, name)} where tenant_id = $1`,
    [tenant.id, horizon],
    {},
    `${name}.move`,
  );
  return row ?? { ids: [], rows: 0 };
}

/**
 * Brings these rows of the target to what the source holds, given that all others are the same. Unique indexes leave out
 * deleted rows: what has changed is first marked as deleted at the target, so that rows may have exchanged what is unique
 * among them.
 */
export async function bring(
  session: WriteSession,
  { tenant, from, to }: Route,
  { name, columns }: TableShape,
  ids: readonly string[],
): Promise<void> {
  if (ids.length === 0) return;
  const names = listed(columns);
  await session.query(
    `update ${place(to, name)} set deleted_at = coalesce(deleted_at, created_at),
       deletion_id = coalesce(deletion_id, id)
     where tenant_id = $1 and id = any($2::uuid[])`,
    [tenant.id, ids],
    {},
    `${name}.move`,
  );
  const updates = columns
    .filter((column) => column.name !== 'id')
    .map((column) => `${quote(column.name)} = excluded.${quote(column.name)}`);
  await session.query(
    `insert into ${place(to, name)} (tenant_id, ${names})
     select tenant_id, ${names} from ${place(from, name)} where tenant_id = $1 and id = any($2::uuid[])
     on conflict (tenant_id, id) do update set ${updates.join(', ')}`,
    [tenant.id, ids],
    {},
    `${name}.move`,
  );
}

/** Rows that are at the target alone: deleted by hand, for the application has no right to. */
export async function dropExtra(
  session: WriteSession,
  { tenant, from, to }: Route,
  { name }: TableShape,
): Promise<void> {
  await session.query(
    `delete from ${place(to, name)} t where t.tenant_id = $1
       and not exists (select from ${place(from, name)} s where s.tenant_id = $1 and s.id = t.id)`,
    [tenant.id],
    {},
    `${name}.move`,
  );
}

export interface Sum {
  rows: number;
  /** Of a hash of every row, whatever their order. */
  checksum: string;
}

/** @param ids of the rows that are looked at; by default all of the tenant */
export async function sumOf(
  session: ReadSession,
  tenant: Tenant,
  schema: string,
  { name, columns }: TableShape,
  ids?: readonly string[],
): Promise<Sum> {
  const [row] = await session.query<Sum>(
    `select count(*) as rows, coalesce(sum(hashtextextended(row(${listed(columns)})::text, 0)), 0)::text as checksum
     from ${place(schema, name)} where tenant_id = $1${ids === undefined ? '' : ' and id = any($2::uuid[])'}`,
    ids === undefined ? [tenant.id] : [tenant.id, ids],
    {},
    `${name}.move`,
  );
  return row ?? { rows: 0, checksum: '0' };
}

export async function countRows(
  session: ReadSession,
  tenant: Tenant,
  schema: string,
  tables: readonly TableShape[],
): Promise<number> {
  const each = tables.map(({ name }) => `(select count(*) from ${place(schema, name)} where tenant_id = $1)`);
  const [row] = await session.query<{ n: number }>(`select ${['0', ...each].join(' + ')} as n`, [tenant.id]);
  return row?.n ?? 0;
}

/** @returns how many; 0 when there are none left */
export async function deleteSome(
  session: WriteSession,
  tenant: Tenant,
  schema: string,
  { name }: TableShape,
  batchRows: number,
): Promise<number> {
  const [row] = await session.query<{ n: number }>(
    `with deleted as (
       delete from ${place(schema, name)} where ctid = any(array(
         select ctid from ${place(schema, name)} where tenant_id = $1 limit $2)) returning 1)
     select count(*) as n from deleted`,
    [tenant.id, batchRows],
    {},
    `${name}.move`,
  );
  return row?.n ?? 0;
}

/**
 * Puts the guard on a table: from then on a write of this tenant is refused that comes to a place where the tenant is not,
 * or while the last step of the move is under way. Waits for all who write to the table at this moment.
 *
 * @param everybody false: the owner may write, which fills the table
 */
export async function addGuard(
  session: WriteSession,
  tenant: Tenant,
  schema: string,
  table: TableShape,
  everybody: boolean,
): Promise<void> {
  const condition = everybody ? '' : ` and current_user = 'tenantry_app'`;
  await session.query(
    `create or replace trigger ${guardOf(tenant)} before insert or update on ${place(schema, table.name)}
     for each row when (new.tenant_id = '${tenant.id}'${condition}) execute function control.guard_move()`,
  );
}

export async function hasGuard(
  session: ReadSession,
  tenant: Tenant,
  schema: string,
  { name }: TableShape,
): Promise<boolean> {
  const found = await session.query(
    `select from pg_trigger g join pg_class c on c.oid = g.tgrelid join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and c.relname = $2 and g.tgname = $3`,
    [schema, name, guardName(tenant)],
  );
  return found.length > 0;
}

/** For an instant nobody may use the table. */
export async function dropGuard(
  session: WriteSession,
  tenant: Tenant,
  schema: string,
  { name }: TableShape,
): Promise<void> {
  await session.query(`drop trigger if exists ${guardOf(tenant)} on ${place(schema, name)}`);
}

const guardName = ({ id }: Tenant) => `moving_${id.replaceAll('-', '')}`;
const guardOf = (tenant: Tenant) => quote(guardName(tenant));
const quote = (name: string) => `"${name.replaceAll('"', '""')}"`;
const place = (schema: string, table: string) => `${quote(schema)}.${quote(table)}`;
const listed = (columns: TableShape['columns']) => columns.map(({ name }) => quote(name)).join(', ');
