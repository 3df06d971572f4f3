import { escapeLiteral } from 'pg';
import type { ReadSession, SchemaName } from '../../db/index.ts';

/** What a run must know of a schema before it touches it, as of the transaction that does. */
export interface Survey {
  there: boolean;
  /** It is `shared`, or some tenant's; that may have been purged since the plan was made. */
  wanted: boolean;
  /** The lease is still the run's. */
  leased: boolean;
  applied: readonly string[];
  /** Knex's own lock: set while somebody runs knex here, or since one was killed. */
  knexLocked: boolean;
}

/**
 * Of the schema, until the transaction ends. The try form: a session that waits for an advisory lock holds up CREATE INDEX
 * CONCURRENTLY elsewhere.
 *
 * @param schema in SQL
 */
export const claimSql = (schema: string): string =>
  `pg_try_advisory_xact_lock(hashtextextended('tenantry migrate ' || ${schema}, 0))`;

/** In SQL, of a schema and a run in SQL. */
const facts = (schema: string, run: string) => ({
  there: `to_regnamespace(quote_ident(${schema})) is not null`,
  // The slug has an index, and the schema is named after it.
  wanted: `(${schema} = 'shared' or exists (select from control.tenants
    where slug = substr(${schema}, 8) and schema_name = ${schema} and status not in ('purging', 'purged')))`,
  leased: `exists (select from control.migration_lease where run = ${run})`,
});

/** After the schema was claimed. */
export async function surveyOf(session: ReadSession, schema: SchemaName, run: string): Promise<Survey> {
  const { there, wanted, leased } = facts('$1', '$2');
  const [row] = await session.query<Omit<Survey, 'knexLocked'> & { knex: boolean }>(
    `select ${there} as there, ${wanted} as wanted, ${leased} as leased,
       coalesce((select array_agg(migration order by migration) from control.migration_ledger
         where schema_name = $1), '{}') as applied,
       to_regclass(quote_ident($1) || '.knex_migrations_lock') is not null as knex`,
    [schema, run],
  );
  if (row === undefined) throw new Error('A query without a condition has no row');
  const { knex, ...survey } = row;
  const locks = knex
    ? await session.query<{ locked: number }>('select is_locked as locked from knex_migrations_lock')
    : [];
  return { ...survey, knexLocked: locks.some(({ locked }) => locked !== 0) };
}

/**
 * Claim and survey as statements that fail unless the step can simply be applied; why it cannot they do not tell. The last
 * of them answers with a row that has `pending`.
 *
 * Two, because what the one before in this schema has committed is seen only by a statement that begins after the claim.
 */
export function proviso(schema: SchemaName, step: string, run: string): string[] {
  const at = escapeLiteral(schema);
  const { there, wanted, leased } = facts(at, escapeLiteral(run));
  return [
    `select 1 / ${claimSql(at)}::int`,
    `select 1 / (${there} and ${wanted} and ${leased}
       and not exists (select from control.migration_ledger
         where schema_name = ${at} and migration = ${escapeLiteral(step)})
       and not exists (select from knex_migrations_lock where is_locked <> 0))::int as pending`,
  ];
}
