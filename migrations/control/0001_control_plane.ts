import type { Knex } from 'knex';

/** Tenants, operators and the central ledger of migrations; and the one view that the data plane may read. */
export async function up(knex: Knex): Promise<void> {
  await knex.schema.createTable('tenants', (table) => {
    table.uuid('id').primary();
    table.text('slug').notNullable().unique('tenants_slug_key');
    table.text('name').notNullable();
    table.text('isolation').notNullable();
    table.text('schema_name').notNullable();
    table.text('status').notNullable();
    table.jsonb('limits').notNullable().defaultTo('{}');
    table.integer('version').notNullable().defaultTo(1);
    table.timestamp('created_at').notNullable().defaultTo(knex.fn.now());
    table.timestamp('updated_at').notNullable().defaultTo(knex.fn.now());
    table.check(`isolation in ('shared', 'schema')`, [], 'tenants_isolation_check');
    table.check(`status in ('active', 'suspended')`, [], 'tenants_status_check');
    table.check(`(isolation = 'shared') = (schema_name = 'shared')`, [], 'tenants_schema_name_check');
    table.index(['created_at', 'id'], 'tenants_created_at_idx');
  });
  await knex.schema.createTable('operators', (table) => {
    table.uuid('id').primary();
    table.text('email').notNullable().unique('operators_email_key');
    table.text('password_hash').notNullable();
    table.timestamp('created_at').notNullable().defaultTo(knex.fn.now());
  });
  // One row per schema and migration, written in the transaction of the migration, so that one query tells what a
  // fleet of thousands of schemas needs.
  await knex.schema.createTable('migration_ledger', (table) => {
    table.text('schema_name').notNullable();
    table.text('migration').notNullable();
    table.timestamp('applied_at').notNullable().defaultTo(knex.fn.now());
    table.integer('duration_ms').notNullable();
    table.primary(['schema_name', 'migration'], { constraintName: 'migration_ledger_pkey' });
  });
  await knex.raw(`
    create view tenant_directory as
      select id, slug, isolation, schema_name as "schemaName", status from tenants`);
  await knex.raw('grant usage on schema control to tenantry_app');
  await knex.raw('grant select on tenant_directory to tenantry_app');
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('drop view tenant_directory');
  for (const table of ['migration_ledger', 'operators', 'tenants']) await knex.schema.dropTable(table);
}
