import type { Knex } from 'knex';

/**
 * Moves of tenants between `shared` and a schema of their own: where the rows that were left behind are, and the guard
 * that stands on the tenant's tables for the time of a move (docs/decisions/0011-moving-a-tenant.md).
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw('alter table tenants add column moved_from text, add column moved_at timestamptz');
  // Added at the end of the view: builds that know nothing of it go on reading.
  await knex.raw(`
    create or replace view tenant_epochs as
      select id, slug, prior_status as "priorStatus", epoch, moved_at as "movedAt" from tenants`);
  // One key a tenant: writers share it until they end, the last step of a move wants it for itself. To try, rather than
  // to wait, refuses writers from the moment on that the move begins to wait, so none can overtake it for ever.
  // The place is asked for as of now, whatever the process that writes believes; and at the new place writes begin a
  // second after the flip, when every process reads there, too.
  await knex.raw(`
    create function guard_move() returns trigger language plpgsql as $$
    begin
      if pg_try_advisory_xact_lock_shared(hashtextextended('tenantry move ' || new.tenant_id, 0))
        and exists (
          select from control.tenant_directory d join control.tenant_epochs e using (id)
          where d.id = new.tenant_id and d."schemaName" = tg_table_schema
            and (e."movedAt" is null or e."movedAt" + interval '1.1 seconds' < clock_timestamp()))
      then
        return new;
      end if;
      raise exception 'the tenant is being moved' using errcode = 'TM001';
    end $$`);
}

/** Not while a tenant moves, or has left rows behind: they would be forgotten. */
export async function down(knex: Knex): Promise<void> {
  await knex.raw('drop function guard_move()');
  await knex.raw('drop view tenant_epochs');
  await knex.raw(
    'create view tenant_epochs as select id, slug, prior_status as "priorStatus", epoch from tenants',
  );
  await knex.raw('grant select on tenant_epochs to tenantry_app');
  await knex.raw('alter table tenants drop column moved_at, drop column moved_from');
}
