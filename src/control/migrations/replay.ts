import { type ClientBase, escapeLiteral } from 'pg';
import type { SchemaName } from '../../db/index.ts';
import { recordSql, type RunOf, sinceBegin } from './ledger.ts';
import type { Script } from './script.ts';

/**
 * Applies a step whose statements are known to one schema, inside of the caller's transaction whose search_path it is.
 * All of it, with its rows in both ledgers, is one message: one round trip, however many statements.
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

/** The rows in both ledgers, as SQL. */
export function recordOf(schema: SchemaName, script: Script, run: RunOf): string {
  return `
    insert into knex_migrations (name, batch, migration_time)
    select ${escapeLiteral(script.step)}, coalesce(max(batch), 0) + 1, clock_timestamp() from knex_migrations;
    ${recordSql(schema, [script], sinceBegin, run)}`;
}
