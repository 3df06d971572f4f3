import { readFile } from 'node:fs/promises';
import createKnex from 'knex';

/**
 * How people migrate a schema per tenant: a loop, and a new knex for each. knex-loop <url> <folder> <file with a schema
 * per line>
 */
const [connection = '', directory = '', file = ''] = process.argv.slice(2);
const schemas = (await readFile(file, 'utf8')).split('\n').filter((line) => line !== '');
for (const schema of schemas) {
  const knex = createKnex({ client: 'pg', connection, searchPath: [schema] });
  await knex.migrate.latest({
    ...{ directory, loadExtensions: ['.mjs'] },
    ...{ schemaName: schema, tableName: 'loop_migrations' }, // beside Tenantry's, which is knex_migrations
  });
  await knex.destroy();
}
