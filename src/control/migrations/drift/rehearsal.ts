import createKnex, { type Knex } from 'knex';
import type { ClientBase } from 'pg';
import type { SchemaName } from '../../../db/index.ts';

/**
 * A transaction that is rolled back whatever comes of it, in a schema that it makes first, on a connection of tenantry_owner
 * for this alone. Nobody else ever sees the schema, and nothing is left of it when the process dies.
 */
export async function rehearse<T>(
  adminUrl: string,
  schema: SchemaName,
  fn: (client: ClientBase, knex: Knex) => Promise<T>,
): Promise<T> {
  const undo = new Error('Rolled back, as was meant');
  let result: { value: T } | undefined;
  await withKnex(adminUrl, (knex) =>
    knex.transaction(async (trx) => {
      await trx.raw(`set local client_connection_check_interval = '500ms'`);
      await trx.raw(`set local lock_timeout = '5s'`);
      await trx.raw(`set local search_path = "${schema}", pg_temp`);
      await trx.raw(`create schema "${schema}"`);
      await trx.raw(`grant usage on schema "${schema}" to tenantry_app`);
      result = { value: await fn(await acquire(trx), trx) };
      throw undo;
    }),
  ).catch((error: unknown) => {
    if (error !== undo) throw error;
  });
  if (result === undefined) throw undo; // it has been set before `undo` was thrown
  return result.value;
}

const silent = () => undefined;

async function withKnex<T>(adminUrl: string, fn: (knex: Knex) => Promise<T>): Promise<T> {
  const knex = createKnex({
    client: 'pg',
    connection: {
      connectionString: adminUrl,
      application_name: 'tenantry-drift',
      connectionTimeoutMillis: 5000,
    },
    pool: { min: 0, max: 1 },
    log: { warn: silent, error: silent, debug: silent, deprecate: silent },
  });
  try {
    return await fn(knex);
  } finally {
    await knex.destroy();
  }
}

/** The pg client under knex, or under its transaction. */
function acquire(knex: Knex): Promise<ClientBase> {
  return (knex.client as { acquireConnection(): Promise<ClientBase> }).acquireConnection();
}
