import { type ClientBase, escapeLiteral, Query } from 'pg';
import type { SchemaName } from '../../db/index.ts';
import { recordSql } from './ledger.ts';
import { isPlain, type Script } from './script.ts';

/**
 * Applies a ladder to a schema that has nothing in it, with both ledgers, in one message: what the steps execute is
 * known, and where nothing is there is nothing to ask. knex's migrator takes 7 round trips and more for each step.
 *
 * Ends before the first step whose statements cannot be known before. That one and what follows it are the migrator's,
 * which finds everything as it would have left it itself. Of `backfill` there is nothing to do: no row is there.
 *
 * @param client in a transaction whose search_path is the schema
 * @param schema there, without a single table; not `control`
 * @param scripts of the whole ladder, in order
 * @returns the steps that were applied
 * @throws what PostgreSQL says, the step before it
 */
export async function climbFromNothing(
  client: ClientBase,
  schema: SchemaName,
  scripts: readonly Script[],
): Promise<string[]> {
  const end = scripts.findIndex((script) => !isPlain(script));
  const known = end === -1 ? scripts : scripts.slice(0, end);
  if (known.length === 0) return [];
  await send(client, [
    ...knexLedger,
    ...known.flatMap((script) => [`select '${script.step}' as step`, ...statementsOf(script)]),
    `select 'the ledgers' as step`,
    ...recorded(schema, known),
  ]);
  return known.map(({ step }) => step);
}

/** As knex's migrator makes them when it first comes to a schema. */
const knexLedger: readonly string[] = [
  `create table knex_migrations (
     id serial primary key, name varchar(255), batch integer, migration_time timestamptz)`,
  'create table knex_migrations_lock (index serial primary key, is_locked integer)',
  'insert into knex_migrations_lock (is_locked) values (0)',
];

/**
 * Of a step that is not transactional: what it does concurrently for the sake of others, nobody is there for; and what it
 * does to rows that are there, there are none for.
 */
const lead = String.raw`(?:\s|--[^\n]*\n|/\*[\s\S]*?\*/)*`;
const concurrent = new RegExp(
  String.raw`^(${lead}(?:create\s+(?:unique\s+)?|drop\s+)index\s+)concurrently\b`,
  'i',
);
const idle = new RegExp(String.raw`^${lead}(?:vacuum|reindex|cluster)\b`, 'i');

function statementsOf({ transactional, statements }: Script): string[] {
  const texts = statements.map(({ sql }) => sql);
  if (transactional) return texts;
  return texts.filter((sql) => !idle.test(sql)).map((sql) => sql.replace(concurrent, '$1'));
}

/** What knex and we keep of the steps. Each took its share of the time of the message. */
function recorded(schema: SchemaName, scripts: readonly Script[]): string[] {
  const rows = scripts.map(({ step }, index) => `(${escapeLiteral(step)}, ${index + 1}, clock_timestamp())`);
  const shareMs = `extract(epoch from clock_timestamp() - statement_timestamp()) * 1000 / ${scripts.length}`;
  return [
    `insert into knex_migrations (name, batch, migration_time) values ${rows.join(', ')}`,
    recordSql(schema, scripts, shareMs),
  ];
}

/** In one round trip. A failure is told with the last `select … as step` before it. */
function send(client: ClientBase, statements: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    let at: string | undefined;
    // A statement may end in a comment.
    const text = statements.join('\n;\n');
    const query = new Query<{ step?: string }>(text);
    query.on('row', ({ step }) => {
      at = step ?? at;
    });
    query.on('end', () => resolve());
    query.on('error', (error: Error & { position?: string }) => {
      // Before the first statement is carried out all are parsed.
      at ??= /.*\nselect '(\w+)' as step\n/s.exec(text.slice(0, Number(error.position ?? 0)))?.[1];
      if (at !== undefined) error.message = `${at}: ${error.message}`;
      reject(error);
    });
    client.query(query);
  });
}
