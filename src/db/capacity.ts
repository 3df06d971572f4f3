import { AppError } from '../errors.ts';
import type { ReadSession, WriteSession } from './session.ts';
import type { Stamped, Table } from './table-contract.ts';

/** What is counted exactly, when it is made: there are few of each, and each may cost money. */
export type Counted = 'users' | 'apiKeys';

/**
 * Refuses what a unit of work has added beyond the tenant's limit. To be called after the insert or restore, in the same
 * unit:
 *
 *     const user = await users.insert(session, input);
 *     await requireWithinLimit(session, users, 'users');
 *
 * Exact: units that add wait for each other from here until they end, so that each counts what the one before has
 * committed. Costs nothing for a tenant without the limit.
 *
 * @throws AppError limit_reached, upon which the unit of work is rolled back
 */
export async function requireWithinLimit<Row extends Stamped>(
  session: WriteSession,
  table: Pick<Table<Row>, 'count'>,
  what: Counted,
): Promise<void> {
  const { tenant } = session;
  const max = tenant?.limits?.[what];
  if (tenant === undefined || max === undefined) return;
  await session.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [`${what} of ${tenant.id}`]);
  if ((await table.count(session)) > max) throw limitReached(what, max);
}

const names = { users: 'users', apiKeys: 'API keys', rows: 'rows' } as const;

export function limitReached(what: keyof typeof names, max: number): AppError {
  return new AppError('limit_reached', `This tenant may have ${max} ${names[what]}.`);
}

/** All live rows of the tenant in these tables, in one statement. */
export async function countRows(session: ReadSession, tables: readonly string[]): Promise<number> {
  const counts = tables.map(
    (table) => `(select count(*) from ${table} where tenant_id = $1 and deleted_at is null)`,
  );
  const rows = await session.query<{ n: number }>(
    `select ${counts.join(' + ')} as n`,
    [session.tenant?.id],
    {},
    'rows.count',
  );
  return rows[0]?.n ?? 0;
}
