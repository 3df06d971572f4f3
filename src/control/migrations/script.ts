import { createHash } from 'node:crypto';
import createKnex, { type Knex } from 'knex';
import type { MigrationFile } from './ladder.ts';

/**
 * What a migration would execute, found out without a database: its `up` runs on a knex that answers nothing. So the
 * plan can show it, lint can judge it, a checksum can guard it, and the fleet runner can send it to thousands of
 * schemas without compiling it anew.
 */
export interface Script {
  step: string;
  statements: readonly Statement[];
  /** False: `config = { transaction: false }`, as knex has it. Its statements run one by one, outside of a transaction. */
  transactional: boolean;
  /** Builds that do not know this step cannot serve a schema that has it. */
  contract: boolean;
  /** Rule of lint → why it does not count here. */
  allow: Readonly<Record<string, string>>;
  /** Rows that are rewritten afterwards, a few at a time. */
  backfill: Backfill | undefined;
  /** Why the statements cannot be known before: it asks the database. Those found until then are listed. */
  opaque: string | undefined;
  /** Of what it executes, and how: the same from source and from the build, whatever comments say. */
  checksum: string;
}

export interface Statement {
  sql: string;
  /** Usually none: DDL takes no parameters. */
  bindings: readonly unknown[];
}

/** Every row of `table` for which `where` holds gets `set`, which must make `where` false. Both are SQL of the table alone. */
export interface Backfill {
  table: string;
  set: string;
  where: string;
}

/** It is known as text, and can be sent with others in one message. */
export function isPlain({ opaque, statements }: Pick<Script, 'opaque' | 'statements'>): boolean {
  return opaque === undefined && statements.every(({ bindings }) => bindings.length === 0);
}

const asked = 'The migration asks the database, so what it executes cannot be known before.';

export async function scriptOf(step: string, file: MigrationFile): Promise<Script> {
  const { up, config, contract = false, allow = {}, backfill } = file;
  const { statements, opaque } = await record(up);
  const transactional = config?.transaction !== false;
  const text = JSON.stringify([transactional, contract, backfill ?? null, statements]);
  const checksum = createHash('sha256').update(text).digest('hex');
  return { step, statements, transactional, contract, allow, backfill, opaque, checksum };
}

async function record(up: MigrationFile['up']): Promise<Pick<Script, 'statements' | 'opaque'>> {
  const statements: Statement[] = [];
  const knex = dryKnex((statement) => statements.push(statement));
  try {
    await up(knex);
    return { statements, opaque: undefined };
  } catch (error) {
    return { statements, opaque: error === refusal ? asked : `${asked} (${(error as Error).message})` };
  } finally {
    await knex.destroy();
  }
}

const refusal = new Error(asked);

/** Compiles as any other, executes nothing. What it answers may be waited for and must not be looked at. */
function dryKnex(told: (statement: Statement) => void): Knex {
  const knex = createKnex({ client: 'pg' });
  // What knex's own dialects replace, too: one client, its connection, and how a query gets its answer.
  const client = knex.client as Record<string, unknown>;
  const connection = { __knexUid: 'dry' };
  client['acquireConnection'] = async () => connection;
  client['releaseConnection'] = async () => undefined;
  client['_query'] = async (_connection: unknown, query: { sql: string; bindings?: unknown[] }) => {
    told({ sql: query.sql, bindings: query.bindings ?? [] });
    return { ...query, response: unreadable };
  };
  client['transaction'] = () => {
    throw refusal;
  };
  return knex;
}

const unreadable = new Proxy(
  {},
  {
    get(_target, property) {
      // Promises and knex look whether it is a promise, and which command it answers.
      if (property === 'then' || property === 'command' || typeof property === 'symbol') return undefined;
      throw refusal;
    },
  },
);
