import { type ReadSession, type SchemaName, schemaName, type WriteSession } from '../../db/index.ts';

/** The central record of what has been applied where; knex keeps its own, inside each schema, with the same names. */
export interface AppliedBySchema {
  /** Every schema of the fleet in migration order: control, shared, then the tenants', oldest first. */
  schemas: SchemaName[];
  applied: ReadonlyMap<string, readonly string[]>;
}

export async function readFleet(session: ReadSession): Promise<AppliedBySchema> {
  const base = [schemaName('control'), schemaName('shared')];
  const [exists] = await session.query<{ ledger: string | null }>(
    `select to_regclass('control.migration_ledger')::text as ledger`,
  );
  if (!exists?.ledger) return { schemas: base, applied: new Map() };
  const tenants = await session.query<{ schema: string }>(
    `select schema_name as schema from control.tenants
     where isolation = 'schema' and status not in ('purging', 'purged') order by created_at, id`,
  );
  const rows = await session.query<{ schema: string; applied: string[] }>(
    `select schema_name as schema, array_agg(migration order by migration) as applied
     from control.migration_ledger group by schema_name`,
  );
  return {
    schemas: [...base, ...tenants.map((row) => schemaName(row.schema))],
    applied: new Map(rows.map((row) => [row.schema, row.applied])),
  };
}

/** The migrations of one schema, in order. */
export async function appliedIn(session: ReadSession, schema: SchemaName): Promise<string[]> {
  const rows = await session.query<{ migration: string }>(
    'select migration from control.migration_ledger where schema_name = $1 order by migration',
    [schema],
  );
  return rows.map(({ migration }) => migration);
}

/** To be called in the transaction of the migration. */
export async function recordApplied(
  session: WriteSession,
  schema: SchemaName,
  migration: string,
  durationMs: number,
): Promise<void> {
  await session.query(
    'insert into control.migration_ledger (schema_name, migration, duration_ms) values ($1, $2, $3)',
    [schema, migration, Math.round(durationMs)],
  );
}
