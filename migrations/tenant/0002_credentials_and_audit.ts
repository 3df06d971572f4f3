import type { Knex } from 'knex';
import { eventId } from '../event-id.ts';
import { tenantTable } from '../tenant-table.ts';

export async function up(knex: Knex): Promise<void> {
  await tenantTable(knex, {
    name: 'audit_events',
    columns: (table) => {
      table.text('action').notNullable();
      table.text('resource').notNullable();
      // Not a reference: an event outlives what it is about, and may be about nothing that is there.
      table.uuid('resource_id');
      table.text('actor_kind').notNullable();
      table.text('actor_id').notNullable();
      table.uuid('operator_id');
      table.text('ip');
      table.text('user_agent');
      table.text('request_id');
      table.jsonb('before');
      table.jsonb('after');
    },
    appendOnly: true,
  });
  // By the clock and not by the transaction: what happened within one keeps its order.
  await knex.raw(`alter table audit_events alter column id set default ${eventId},
    alter column created_at set default clock_timestamp()`);
  await tenantTable(knex, {
    name: 'api_keys',
    columns: (table) => {
      table.text('name').notNullable();
      table.uuid('user_id');
      table.text('secret_hash').notNullable();
      table.text('scopes').notNullable();
      table.timestamp('expires_at');
      table.timestamp('last_used_at');
    },
    references: { user_id: 'users' },
    indexes: { user_id: ['user_id'] },
  });
  // One more with every change after which the access tokens made before must not count any more.
  await knex.schema.alterTable('users', (table) => {
    table.integer('credentials_version').notNullable().defaultTo(1);
  });
}

export async function down(knex: Knex): Promise<void> {
  await knex.schema.alterTable('users', (table) => {
    table.dropColumn('credentials_version');
  });
  for (const table of ['api_keys', 'audit_events']) await knex.schema.dropTable(table);
}
