import { type ClientBase, escapeLiteral } from 'pg';
import type { SchemaName } from '../../db/index.ts';
import { build } from '../../version.ts';
import type { Script } from './script.ts';

/** Whose run it is, for the ledger. */
export interface RunOf {
  id: string;
  /** Counted from 1; control and shared are 0. */
  wave: number;
  /** Tries so far, this one included. */
  attempts: number;
}

/**
 * Applies steps whose statements are known to one schema, inside of the caller's transaction whose search_path it is.
 * All of a step, with its rows in both ledgers, is one message: one round trip, however many statements.
 */
export async function replay(
  client: ClientBase,
  schema: SchemaName,
  script: Script,
  run: RunOf,
): Promise<void> {
  let message = '';
  for (const { sql, bindings } of script.statements) {
    if (bindings.length === 0) {
      message += `${sql}\n;\n`; // it may end in a comment
      continue;
    }
    if (message !== '') await client.query(message);
    message = '';
    await client.query(sql, [...bindings]);
  }
  await client.query(message + recordOf(schema, script, run));
}

/** The rows in both ledgers, as SQL: of values that are known to be harmless, or made so. */
export function recordOf(schema: SchemaName, { step, checksum, contract }: Script, run: RunOf): string {
  const [name, at] = [escapeLiteral(step), escapeLiteral(schema)];
  // By the clock, for the transaction began when the first step did.
  const tookMs = '(extract(epoch from clock_timestamp() - now()) * 1000)::int';
  return `
    insert into knex_migrations (name, batch, migration_time)
      select ${name}, coalesce(max(batch), 0) + 1, clock_timestamp() from knex_migrations;
    insert into control.migration_ledger
      (schema_name, migration, duration_ms, checksum, run, wave, attempts, build, applied_at)
      select ${at}, ${name}, ${tookMs}, ${escapeLiteral(checksum)}, ${escapeLiteral(run.id)}, ${run.wave},
        ${run.attempts} + coalesce((select attempts from control.migration_failures
          where schema_name = ${at} and migration = ${name}), 0), ${escapeLiteral(build)}, clock_timestamp();
    delete from control.migration_failures where schema_name = ${at} and migration = ${name};
    insert into control.schema_versions (schema_name, version, needs)
      values (${at}, ${name}, ${contract ? name : 'null'})
      on conflict (schema_name) do update set version = greatest(schema_versions.version, excluded.version),
        needs = greatest(schema_versions.needs, excluded.needs)`;
}
