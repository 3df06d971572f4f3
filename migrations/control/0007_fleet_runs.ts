import type { Knex } from 'knex';

/**
 * Runs over the whole fleet: who is at it, what was tried and came of it, which version each schema is at for those who
 * serve it, and schemas that are made before anybody asks for them.
 */
export async function up(knex: Knex): Promise<void> {
  // A row stands for what has been applied, and is written in its transaction; what failed is in migration_failures.
  await knex.raw(`
    alter table migration_ledger
      add column checksum text,
      add column run uuid,
      add column wave integer,
      add column attempts integer not null default 1,
      add column build text`);
  await knex.schema.createTable('migration_failures', (table) => {
    table.text('schema_name').notNullable();
    table.text('migration').notNullable();
    table.uuid('run');
    table.integer('wave');
    table.integer('attempts').notNullable();
    table.integer('duration_ms').notNullable();
    table.text('error').notNullable();
    table.text('build');
    table.timestamp('failed_at').notNullable().defaultTo(knex.fn.now());
    table.primary(['schema_name', 'migration'], { constraintName: 'migration_failures_pkey' });
  });
  await knex.schema.createTable('migration_runs', (table) => {
    table.uuid('id').primary();
    table.text('status').notNullable();
    // What the operator wants of it, which the runner looks at with every heartbeat.
    table.text('wanted').notNullable().defaultTo('run');
    table.jsonb('options').notNullable().defaultTo('{}');
    table.text('requested_by');
    table.text('build');
    table.text('wave');
    table.integer('total').notNullable().defaultTo(0);
    table.integer('applied').notNullable().defaultTo(0);
    table.integer('failed').notNullable().defaultTo(0);
    table.integer('skipped').notNullable().defaultTo(0);
    table.text('reason');
    table.timestamp('created_at').notNullable().defaultTo(knex.fn.now());
    table.timestamp('started_at');
    table.timestamp('finished_at');
    table.check(
      `status in ('queued', 'running', 'paused', 'succeeded', 'failed', 'halted', 'cancelled', 'abandoned')`,
      [],
      'migration_runs_status_check',
    );
    table.check(`wanted in ('run', 'pause', 'cancel')`, [], 'migration_runs_wanted_check');
    table.index(['created_at', 'id'], 'migration_runs_created_at_idx');
  });
  await knex.schema.createTable('migration_events', (table) => {
    table
      .uuid('run')
      .notNullable()
      .references('id')
      .inTable('migration_runs')
      .onDelete('CASCADE')
      .withKeyName('migration_events_run_fkey');
    table.bigInteger('seq').notNullable();
    table.timestamp('at').notNullable().defaultTo(knex.fn.now());
    table.jsonb('event').notNullable();
    table.primary(['run', 'seq'], { constraintName: 'migration_events_pkey' });
  });
  // At most one row: whose run it is, for as long as it is heard of.
  await knex.raw(`create table migration_lease (
    one boolean primary key default true check (one),
    run uuid not null,
    holder text not null,
    taken_at timestamptz not null default now(),
    heartbeat_at timestamptz not null default now(),
    expires_at timestamptz not null)`);
  // `needs`: the newest step in the schema that builds must know to serve it.
  await knex.raw(`create table schema_versions (
    schema_name text primary key,
    version text not null,
    needs text)`);
  await knex.raw(`
    insert into schema_versions (schema_name, version)
    select schema_name, max(migration) from migration_ledger where schema_name <> 'control' group by schema_name`);
  await knex.raw(`create table warm_schemas (
    schema_name text primary key,
    version text not null,
    made_at timestamptz not null default now())`);
  await knex.raw('alter table tenants add column canary boolean not null default false');
  await knex.raw(`
    create view tenant_versions as
      select t.id, v.version, v.needs from tenants t left join schema_versions v using (schema_name)`);
  await knex.raw('grant select on tenant_versions to tenantry_app');
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('drop view tenant_versions');
  await knex.raw('alter table tenants drop column canary');
  for (const table of [
    'warm_schemas',
    'schema_versions',
    'migration_lease',
    'migration_events',
    'migration_runs',
    'migration_failures',
  ]) {
    await knex.schema.dropTable(table);
  }
  await knex.raw(`
    alter table migration_ledger
      drop column build, drop column attempts, drop column wave, drop column run, drop column checksum`);
}
