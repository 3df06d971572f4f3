import type { Knex } from 'knex';

/**
 * What tenants may use, for the data plane. A view of its own, so that tenant_directory can grow without it: only tenants
 * that have limits are in it.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`create view tenant_limits as select id, limits from tenants where limits <> '{}'::jsonb`);
  await knex.raw('grant select on tenant_limits to tenantry_app');
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('drop view tenant_limits');
}
