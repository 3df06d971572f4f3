import type { ClientBase } from 'pg';
import type { SchemaName } from '../../db/index.ts';
import type { Rung } from './lock-ladder.ts';
import type { Migrator } from './migrator.ts';
import type { Script } from './script.ts';

/** `create [unique] index concurrently [if not exists] name`, and what drops one. */
const creation =
  /^\s*create\s+(?:unique\s+)?index\s+concurrently\s+(?:if\s+not\s+exists\s+)?("[^"]+"|\w+)\s+on\b/i;
const removal = /^\s*drop\s+index\s+concurrently\s+(?:if\s+exists\s+)?("[^"]+"|\w+)\s*;?\s*$/i;

/**
 * The statements of a step outside of transactions. What an earlier try has left is looked at first: an index that is
 * there and valid counts, one that is not is dropped and built again.
 *
 * @throws Error when a statement is neither CREATE nor DROP INDEX CONCURRENTLY of an index with a name
 */
export function buildConcurrently(
  migrator: Migrator,
  schema: SchemaName,
  { step, statements }: Script,
  { timeoutMs }: Rung,
): Promise<void> {
  return migrator.outside(schema, async (client) => {
    await client.query(`set lock_timeout = ${timeoutMs}; set statement_timeout = 0`);
    for (const { sql } of statements) {
      const [created, removed] = [nameIn(creation, sql), nameIn(removal, sql)];
      const name = created ?? removed;
      if (name === undefined) {
        throw new Error(
          `${step}: only indexes with a name are made and dropped outside of a transaction: ${sql}`,
        );
      }
      const found = await stateOf(client, schema, name);
      if (created !== undefined && found === 'invalid')
        await client.query(`drop index concurrently "${name}"`);
      if (created === undefined ? found !== 'missing' : found !== 'valid') await client.query(sql);
    }
  });
}

/** @returns as PostgreSQL has it, without the quotes */
function nameIn(pattern: RegExp, sql: string): string | undefined {
  const name = pattern.exec(sql)?.[1];
  return name?.startsWith('"') ? name.slice(1, -1) : name?.toLowerCase();
}

async function stateOf(client: ClientBase, schema: SchemaName, name: string) {
  const { rows } = await client.query<{ valid: boolean }>(
    `select i.indisvalid as valid from pg_class c join pg_index i on i.indexrelid = c.oid
     where c.relnamespace = to_regnamespace($1) and c.relname = $2`,
    [schema, name],
  );
  const [row] = rows;
  if (row === undefined) return 'missing';
  return row.valid ? 'valid' : 'invalid';
}
