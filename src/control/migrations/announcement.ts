import { setTimeout as sleep } from 'node:timers/promises';
import type { ControlDatabase, SchemaName, WriteSession } from '../../db/index.ts';

/**
 * A step that takes away what older builds need is announced before it is applied: they hear of it as of any change of a
 * tenant (../epochs.ts), and refuse the tenants of these schemas from then on, rather than run into what is missing.
 */

/**
 * Announces, and resolves when every process has heard it: the step may come then. In a schema in which it does not come after
 * all, retractContract() takes it back.
 */
export function createAnnouncer(parts: {
  database: Pick<ControlDatabase, 'write'>;
  /** MAX_REPLICA_LAG_MS */
  maxReplicaLagMs: number;
}): (schemas: readonly SchemaName[], step: string) => Promise<void> {
  return async (schemas, step) => {
    await parts.database.write((session) => announceContract(session, schemas, step));
    await sleep(learntMs(parts.maxReplicaLagMs));
  };
}

/**
 * After an announcement has been committed: when every process refuses what it cannot serve. One that is asked all the time
 * believes for 0.9 s what it has heard last (../epochs.ts, staleMs), or for one what a server said that was behind
 * (../directory.ts, doubtfulMs); while the primary is busy, that server may be a replica.
 *
 * What a process had let in by then goes on, however long the request takes (REQUEST_DEADLINE_MS), and may meet the step
 * between two statements. The step waits for the transactions that have used its tables; one that comes to them afterwards fails
 * and is rolled back as a whole, and the request is answered with 503 (../schema-guard.ts). So nobody need wait for it. The
 * same goes for a process that no server answers, which believes for fifteen seconds what it has heard last.
 *
 * @param maxReplicaLagMs MAX_REPLICA_LAG_MS
 */
export function learntMs(maxReplicaLagMs: number): number {
  return 1100 + maxReplicaLagMs;
}

/**
 * From the commit on, builds that do not know `step` refuse the tenants of `schemas` (503 `tenant_migrating`). To be called
 * last in its transaction: changes of all tenants wait from here to the commit.
 *
 * @param schemas one that has not been migrated yet is left out: it has nobody to serve
 * @returns how many tenants will be looked up anew
 */
export async function announceContract(
  session: WriteSession,
  schemas: readonly SchemaName[],
  step: string,
): Promise<number> {
  // Before all others, as whoever changes a tenant locks its row.
  await session.query(
    `select count(*) from (
       select from control.tenants where schema_name = any($1) order by id for no key update) locked`,
    [schemas],
  );
  await session.query(
    `insert into control.schema_versions as v (schema_name, version, needs)
     select schema_name, max(migration), $2 from control.migration_ledger
     where schema_name = any($1) group by schema_name
     on conflict (schema_name) do update set needs = greatest(v.needs, excluded.needs)`,
    [schemas, step],
  );
  return renumber(session, schemas);
}

/**
 * The step was not applied. Processes that refuse the tenants of the schema ask again within a second.
 *
 * @param needs the newest step with `contract` that has been applied in the schema; null for none
 */
export async function retractContract(
  session: WriteSession,
  schema: SchemaName,
  needs: string | null,
): Promise<void> {
  await session.query('update control.schema_versions set needs = $2 where schema_name = $1', [
    schema,
    needs,
  ]);
}

/** What the trigger tenants_updated does for a tenant (migrations/control/0003), for all of some schemas at once. */
async function renumber(session: WriteSession, schemas: readonly SchemaName[]): Promise<number> {
  await session.query('select epoch from control.tenant_epoch for update');
  // Nobody commits a change of a tenant from here on. Those who came in between are seen; the row of one who is about to
  // change is left to him, who waits for us and will number it.
  const [numbered] = await session.query<{ tenants: number }>(
    `with named as (
       select id from control.tenants where schema_name = any($1) order by id for no key update skip locked),
     numbered as (
       select id, (select epoch from control.tenant_epoch) + row_number() over (order by id) as epoch from named),
     changed as (
       update control.tenants t set epoch = n.epoch from numbered n where n.id = t.id returning t.epoch)
     select count(*) as tenants from changed`,
    [schemas],
  );
  const { tenants = 0 } = numbered ?? {};
  await session.query(
    `with taken as (update control.tenant_epoch set epoch = epoch + $1 returning epoch)
     select pg_notify('tenantry_tenants', epoch::text) from taken`,
    [tenants],
  );
  return tenants;
}
