import { escapeLiteral } from 'pg';
import { type ReadSession, type SchemaName, schemaName, type WriteSession } from '../../db/index.ts';
import { build } from '../../version.ts';
import type { LadderName } from './ladder.ts';
import type { Script } from './script.ts';
import type { SchemaFacts } from './waves.ts';

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

/** As the ledger has it. */
export interface Checksum {
  ladder: LadderName;
  step: string;
  checksum: string;
  /** How many schemas have the step with it. */
  schemas: number;
}

/**
 * Of all that was applied since checksums are kept, but for schemas that wait for a tenant, which are replaced and not
 * migrated. To be called when the ladder `control` is up to date.
 */
export function readChecksums(session: ReadSession): Promise<Checksum[]> {
  return session.query<Checksum>(
    `select case schema_name when 'control' then 'control' else 'tenant' end as ladder, migration as step, checksum,
       count(*) as schemas
     from control.migration_ledger
     where checksum is not null and schema_name not in (select schema_name from control.warm_schemas)
     group by 1, 2, 3 order by 1, 2`,
  );
}

/** What the order of the waves depends on, of every schema of a tenant. */
export async function readFacts(session: ReadSession): Promise<Map<string, SchemaFacts>> {
  const rows = await session.query<SchemaFacts & { schema: string }>(
    `select t.schema_name as schema, t.canary, coalesce(p.pages, 0) as pages
     from control.tenants t
       left join (select relnamespace, sum(relpages)::bigint as pages from pg_class group by 1) p
         on p.relnamespace = to_regnamespace(t.schema_name)
     where t.isolation = 'schema' and t.status not in ('purging', 'purged')`,
  );
  return new Map(rows.map(({ schema, ...facts }) => [schema, facts]));
}

/** Server processes that make a tenant at this moment: see Migrator, createSchema(). */
export async function provisioningUnderWay(session: ReadSession): Promise<number[]> {
  const rows = await session.query<{ pid: number }>(
    `select distinct pid from pg_locks, (select ${provisioningKey} as key) k
     where locktype = 'advisory' and granted and objsubid = 1
       and database = (select oid from pg_database where datname = current_database())
       and classid::bigint = (key >> 32) & 4294967295 and objid::bigint = key & 4294967295`,
  );
  return rows.map(({ pid }) => pid);
}

/** An advisory lock that whoever makes a tenant shares with all others that do. Nobody wants it for himself. */
export const provisioningKey = `hashtextextended('tenantry provisioning', 0)`;

/** What was tried in vain and has not succeeded since. */
export interface Failure {
  schema: string;
  migration: string;
  run: string | null;
  wave: number | null;
  attempts: number;
  error: string;
  at: string;
}

export function readFailures(session: ReadSession): Promise<Failure[]> {
  return session.query<Failure>(
    `select schema_name as schema, migration, run, wave, attempts, error, failed_at as at
     from control.migration_failures order by schema_name, migration`,
  );
}

/** The migrations of one schema, in order. */
export async function appliedIn(session: ReadSession, schema: SchemaName): Promise<string[]> {
  const rows = await session.query<{ migration: string }>(
    'select migration from control.migration_ledger where schema_name = $1 order by migration',
    [schema],
  );
  return rows.map(({ migration }) => migration);
}

/** Whose run it is, for the ledger. */
export interface RunOf {
  id: string;
  /** Counted from 1; control and shared are 0. */
  wave: number;
  /** Tries so far in this run, this one included. */
  attempts: number;
}

/** Milliseconds since the transaction began. */
export const sinceBegin = 'extract(epoch from clock_timestamp() - now()) * 1000';

/**
 * What the central ledger keeps of steps that have been applied to a schema, as SQL, for the message that applies them. From
 * the commit on the data plane knows the schema by its new version.
 *
 * @param schema not `control`, whose ledger grows columns while it is migrated: see recordControl()
 * @param tookMs of each of them, in SQL
 * @param run of the fleet; absent where a tenant is made, moved or imported
 */
export function recordSql(
  schema: SchemaName,
  scripts: readonly Pick<Script, 'step' | 'checksum' | 'contract'>[],
  tookMs: string,
  run?: RunOf,
): string {
  const at = escapeLiteral(schema);
  const steps = scripts.map(({ step }) => escapeLiteral(step));
  const rows = scripts.map(
    ({ checksum }, index) => `(${steps[index]}, ${escapeLiteral(checksum)}, ${index})`,
  );
  // A join keeps no order, and the ledger is read in that of time.
  const appliedAt = `statement_timestamp() + place * interval '1 microsecond'`;
  const needs = steps.findLast((_step, index) => scripts[index]?.contract === true) ?? 'null';
  const of = run === undefined ? 'null::uuid, null::int' : `${escapeLiteral(run.id)}::uuid, ${run.wave}`;
  return `
    insert into control.migration_ledger
      (schema_name, migration, duration_ms, checksum, run, wave, attempts, build, applied_at)
    select ${at}, step, ${tookMs}, checksum, ${of}, ${run?.attempts ?? 1} + coalesce(f.attempts, 0),
      ${escapeLiteral(build)}, ${appliedAt}
    from (values ${rows.join(', ')}) as s (step, checksum, place)
      left join control.migration_failures f on f.schema_name = ${at} and f.migration = s.step;
    delete from control.migration_failures where schema_name = ${at} and migration in (${steps.join(', ')});
    insert into control.schema_versions (schema_name, version, needs)
    values (${at}, ${steps.at(-1) ?? 'null'}, ${needs})
    on conflict (schema_name) do update set version = greatest(schema_versions.version, excluded.version),
      needs = greatest(schema_versions.needs, excluded.needs)`;
}

/**
 * The same for the schema `control`, in its transaction. What the columns of newer steps hold is filled in when all steps
 * have been applied.
 */
export async function recordControl(
  session: WriteSession,
  all: readonly { step: string; checksum: string; durationMs: number }[],
): Promise<void> {
  for (const { step, durationMs } of all) {
    await session.query(
      `insert into control.migration_ledger (schema_name, migration, duration_ms) values ('control', $1, $2)`,
      [step, Math.round(durationMs)],
    );
  }
  for (const { step, checksum } of all) {
    await session.query(
      `update control.migration_ledger set checksum = $2, build = $3
       where schema_name = 'control' and migration = $1`,
      [step, checksum, build],
    );
  }
}

/** @param needs the newest step before it that builds must know */
export async function recordTakenBack(
  session: WriteSession,
  schema: SchemaName,
  step: string,
  needs: string | undefined,
): Promise<void> {
  await session.query('delete from control.migration_ledger where schema_name = $1 and migration = $2', [
    schema,
    step,
  ]);
  await session.query(
    `update control.schema_versions v set needs = $2, version = coalesce(
       (select max(migration) from control.migration_ledger l where l.schema_name = v.schema_name), '')
     where schema_name = $1`,
    [schema, needs ?? null],
  );
}

/** What was tried in vain, until it succeeds. Tries are counted on from those of earlier runs. */
export async function recordFailure(
  session: WriteSession,
  schema: SchemaName,
  failure: {
    step: string;
    error: string;
    durationMs: number;
    run: RunOf;
  },
): Promise<void> {
  const { step, error, durationMs, run } = failure;
  await session.query(
    `insert into control.migration_failures as f
       (schema_name, migration, run, wave, attempts, duration_ms, error, build)
     values ($1, $2, $3, $4, $5, $6, $7, $8)
     on conflict (schema_name, migration) do update set run = excluded.run, wave = excluded.wave,
       attempts = f.attempts + excluded.attempts, duration_ms = excluded.duration_ms, error = excluded.error,
       build = excluded.build, failed_at = now()`,
    [schema, step, run.id, run.wave, run.attempts, Math.round(durationMs), error, build],
  );
}

/** With a schema that is dropped, what was known of it. */
export async function forgetSchema(session: WriteSession, schema: SchemaName): Promise<void> {
  for (const table of ['migration_ledger', 'migration_failures', 'schema_versions']) {
    await session.query(`delete from control.${table} where schema_name = $1`, [schema]);
  }
}
