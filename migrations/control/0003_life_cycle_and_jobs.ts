import type { Knex } from 'knex';

/**
 * The life cycle of tenants, told to every process by epochs; durable jobs; and answers kept for requests that are
 * repeated.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    alter table tenants
      add column prior_status text,
      add column status_since timestamptz not null default now(),
      add column legal_hold text,
      add column epoch bigint,
      drop constraint tenants_status_check,
      add constraint tenants_status_check
        check (status in ('active', 'suspended', 'moving', 'deleted', 'purging', 'purged')),
      add constraint tenants_prior_status_check
        check ((prior_status is not null) = (status in ('moving', 'deleted')))`);

  // Every change of a tenant has a number, and numbers become visible in their order: the row of tenant_epoch is locked
  // from the moment one is taken to the commit. Deferred, so that this moment is short, however long the transaction.
  await knex.raw(`create table tenant_epoch (
    one boolean primary key default true check (one), epoch bigint not null)`);
  await knex.raw(`
    update tenants t set epoch = n.epoch
    from (select id, row_number() over (order by created_at, id) as epoch from tenants) n where n.id = t.id`);
  await knex.raw('insert into tenant_epoch (epoch) select count(*) from tenants');
  await knex.raw('create unique index tenants_epoch_key on tenants (epoch)');
  await knex.raw(`
    create function number_tenant_change() returns trigger language plpgsql as $$
    declare
      next bigint;
    begin
      update control.tenant_epoch set epoch = epoch + 1 returning epoch into next;
      update control.tenants set epoch = next where id = new.id;
      perform pg_notify('tenantry_tenants', next::text);
      return null;
    end $$`);
  await knex.raw(`
    create constraint trigger tenants_inserted after insert on tenants
      deferrable initially deferred for each row execute function number_tenant_change()`);
  await knex.raw(`
    create constraint trigger tenants_updated after update on tenants
      deferrable initially deferred for each row
      when (new.epoch is not distinct from old.epoch) execute function number_tenant_change()`);
  await knex.raw(
    'create view tenant_epochs as select id, slug, prior_status as "priorStatus", epoch from tenants',
  );
  await knex.raw('grant select on tenant_epochs to tenantry_app');

  // What graphile-worker's queue does not keep: what a job is about, how far it is, and how it ended.
  await knex.schema.createTable('jobs', (table) => {
    table.uuid('id').primary();
    table.text('kind').notNullable();
    table.uuid('tenant');
    table.text('status').notNullable().defaultTo('queued');
    table.jsonb('input').notNullable().defaultTo('{}');
    table.jsonb('state').notNullable().defaultTo('{}');
    table.jsonb('result');
    table.text('error');
    table.bigInteger('done').notNullable().defaultTo(0);
    table.bigInteger('total');
    table.text('unit');
    table.integer('attempts').notNullable().defaultTo(0);
    table.boolean('cancel_requested').notNullable().defaultTo(false);
    table.text('worker');
    table.timestamp('heartbeat_at');
    table.timestamp('created_at').notNullable().defaultTo(knex.fn.now());
    table.timestamp('started_at');
    table.timestamp('finished_at');
    table.check(
      `status in ('queued', 'running', 'succeeded', 'failed', 'cancelled')`,
      [],
      'jobs_status_check',
    );
    table.check(`(status = 'running') = (worker is not null)`, [], 'jobs_worker_check');
    table.index(['created_at', 'id'], 'jobs_created_at_idx');
    table.index(['tenant'], 'jobs_tenant_idx');
  });
  await knex.raw(
    `create unique index jobs_live_key on jobs (kind, tenant) where status in ('queued', 'running')`,
  );

  await knex.schema.createTable('idempotency_keys', (table) => {
    table.text('principal').notNullable();
    table.text('route').notNullable();
    table.text('key').notNullable();
    table.text('body_digest').notNullable();
    table.integer('status').notNullable();
    // Not jsonb: what is answered again has its fields in the same order.
    table.json('body').notNullable();
    table.uuid('tenant');
    table.timestamp('created_at').notNullable().defaultTo(knex.fn.now());
    table.primary(['principal', 'route', 'key'], { constraintName: 'idempotency_keys_pkey' });
    table.index(['created_at'], 'idempotency_keys_created_at_idx');
  });
}

export const allow = {
  'constraint-missing-not-valid': 'The table has a row a tenant: to look at all of them takes a moment.',
  'require-concurrent-index-creation': 'The table has a row a tenant: the index is built in a moment.',
};

/** Not while a tenant is deleted, or has been: the older build knows no such status. */
export async function down(knex: Knex): Promise<void> {
  for (const table of ['idempotency_keys', 'jobs']) await knex.schema.dropTable(table);
  await knex.raw('drop view tenant_epochs');
  for (const trigger of ['tenants_updated', 'tenants_inserted']) {
    await knex.raw(`drop trigger ${trigger} on tenants`);
  }
  await knex.raw('drop function number_tenant_change()');
  await knex.schema.dropTable('tenant_epoch');
  await knex.raw(`
    alter table tenants
      drop constraint tenants_prior_status_check,
      drop constraint tenants_status_check,
      add constraint tenants_status_check check (status in ('active', 'suspended')),
      drop column epoch, drop column legal_hold, drop column status_since, drop column prior_status`);
}
