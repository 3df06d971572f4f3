import { isDeepStrictEqual } from 'node:util';
import { expect } from '@jest/globals';
import { withConnection } from './connection.ts';
import type { TestDatabase } from './database.ts';

/** A row of any tenant table, as a superuser sees it. */
export interface AnyRow {
  /** `shared.products`, … */
  place: string;
  row: { tenant_id: string; id: string } & Record<string, unknown>;
}

const tablesQuery = `
  select format('%I.%I', n.nspname, c.relname) as place
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind = 'r' and c.relname !~ '^knex_' and (n.nspname = 'shared' or n.nspname like 'tenant\\_%')
  order by 1`;

/** Tables of the tenant ladder, in every schema that has them. */
export async function tenantTables(database: TestDatabase): Promise<string[]> {
  return (await database.superuser<{ place: string }>(tablesQuery)).map((table) => table.place);
}

/** Every row of every tenant, in a fixed order: taken before and after, it shows what has changed. */
export function allRows(database: TestDatabase): Promise<AnyRow[]> {
  return withConnection(database.superuserUrl(), async (client) => {
    const tables = await client.query<{ place: string }>(tablesQuery);
    const each = tables.rows.map(
      ({ place }) => `select '${place}' as place, tenant_id, id, to_jsonb(t) as row from ${place} t`,
    );
    const { rows } = await client.query<AnyRow>(`
      select place, row from (${each.join(' union all ')}) all_rows order by place, tenant_id, id`);
    return rows;
  });
}

/** Without the audit: what is refused may stand there, and what is done must. */
export function withoutEvents(rows: readonly AnyRow[]): AnyRow[] {
  return rows.filter(({ place }) => !place.endsWith('.audit_events'));
}

/** What the audit was told between the two. */
export function newEvents(before: readonly AnyRow[], after: readonly AnyRow[]): AnyRow[] {
  const known = new Set(before.map(({ place, row }) => `${place} ${row.id}`));
  return after.filter(
    ({ place, row }) => place.endsWith('.audit_events') && !known.has(`${place} ${row.id}`),
  );
}

/** Without those of one tenant. */
export async function othersRows(database: TestDatabase, tenantId: string): Promise<AnyRow[]> {
  return (await allRows(database)).filter(({ row }) => row.tenant_id !== tenantId);
}

/**
 * As toEqual(), which takes a second to find no difference in some thousands of rows.
 *
 * @param about shown with a difference
 */
export function expectSameRows(rows: readonly AnyRow[], before: readonly AnyRow[], about = ''): void {
  if (!isDeepStrictEqual(rows, before)) expect([about, rows]).toEqual([about, before]);
}
