import type { Knex } from 'knex';
import { tenantTable } from '../tenant-table.ts';

/** What requests with an Idempotency-Key have been answered: src/db/once.ts. */
export async function up(knex: Knex): Promise<void> {
  await tenantTable(knex, {
    name: 'idempotency_keys',
    columns: (table) => {
      table.text('request').notNullable();
      table.text('digest').notNullable();
      table.binary('result').notNullable();
    },
    unique: [['request']],
  });
}

export async function down(knex: Knex): Promise<void> {
  await knex.schema.dropTable('idempotency_keys');
}
