import type { Knex } from 'knex';
import { eventId } from '../event-id.ts';

/** The platform's own audit, and the list of access tokens that do not count any more. */
export async function up(knex: Knex): Promise<void> {
  await knex.schema.createTable('audit_events', (table) => {
    table.uuid('id').primary().defaultTo(knex.raw(eventId));
    // Undefined where the platform as a whole is meant. No reference: an event outlives its tenant.
    table.uuid('tenant');
    table.text('action').notNullable();
    table.text('resource').notNullable();
    table.uuid('resource_id');
    table.text('actor_kind').notNullable();
    table.text('actor_id').notNullable();
    table.uuid('operator_id');
    table.text('ip');
    table.text('user_agent');
    table.text('request_id');
    table.jsonb('before');
    table.jsonb('after');
    table.timestamp('created_at').notNullable().defaultTo(knex.raw('clock_timestamp()'));
    table.index(['created_at', 'id'], 'audit_events_created_at_idx');
    table.index(['tenant', 'created_at', 'id'], 'audit_events_tenant_idx');
  });
  // The owner writes the platform's events and takes the right to change them from itself, against accidents.
  await knex.raw('revoke update, delete, truncate on audit_events from tenantry_owner');
  await knex.raw('alter table audit_events enable row level security');
  // The data plane adds what operators do for a tenant, and logins that named no tenant there is; it reads nothing.
  await knex.raw(`
    create policy added_by_tenants on audit_events for insert to tenantry_app with check (
      tenant = nullif(current_setting('app.tenant_id', true), '')::uuid
      and (actor_kind = 'operator' or tenant = '00000000-0000-0000-0000-000000000000'))`);
  await knex.raw('grant insert on audit_events to tenantry_app');

  // A row a user whose tokens were ended; every process of the data plane reads what is new of it once a second.
  await knex.schema.createTable('revocations', (table) => {
    table.uuid('tenant').notNullable();
    table.uuid('subject').notNullable();
    table.integer('version').notNullable();
    table.timestamp('revoked_at').notNullable();
    table.primary(['tenant', 'subject'], { constraintName: 'revocations_pkey' });
    table.index(['revoked_at'], 'revocations_revoked_at_idx');
  });
  await knex.raw('alter table revocations enable row level security');
  await knex.raw('create policy read_by_all on revocations for select to tenantry_app using (true)');
  for (const command of ['insert', 'update']) {
    const own = `tenant = nullif(current_setting('app.tenant_id', true), '')::uuid`;
    await knex.raw(
      `create policy ${command}_of_tenant on revocations for ${command} to tenantry_app
       ${command === 'update' ? `using (${own})` : ''} with check (${own})`,
    );
  }
  await knex.raw('grant select, insert, update on revocations to tenantry_app');
}

export async function down(knex: Knex): Promise<void> {
  for (const table of ['revocations', 'audit_events']) await knex.schema.dropTable(table);
}
