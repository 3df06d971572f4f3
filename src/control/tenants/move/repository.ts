import { isUuid, type ReadSession, type SchemaName, type WriteSession } from '../../../db/index.ts';
import type { TenantStatus } from '../lifecycle.ts';

/** What a move has left in the row of its tenant. */
export interface Left {
  /** The schema that still holds the rows as they were when the tenant was moved away; null once that is confirmed. */
  movedFrom: SchemaName | null;
  movedAt: string | null;
}

export async function findLeft(session: ReadSession, slugOrId: string): Promise<Left> {
  const [row] = await session.query<Left>(
    `select moved_from as "movedFrom", moved_at as "movedAt" from control.tenants
     where ${isUuid(slugOrId) ? 'id' : 'slug'} = $1`,
    [slugOrId],
  );
  return row ?? { movedFrom: null, movedAt: null };
}

/** The tenant is at its new place, and is what it was. The moment counts from which writes there are put off. */
export async function flip(
  session: WriteSession,
  id: string,
  { isolation, from, to, status }: { isolation: string; from: string; to: string; status: TenantStatus },
): Promise<void> {
  await session.query(
    `update control.tenants set isolation = $2, schema_name = $3, moved_from = $4, moved_at = clock_timestamp(),
       status = $5, prior_status = null, status_since = now(), updated_at = now(), version = version + 1
     where id = $1`,
    [id, isolation, to, from, status],
  );
}

export async function forgetLeft(session: WriteSession, id: string): Promise<void> {
  await session.query('update control.tenants set moved_from = null, moved_at = null where id = $1', [id]);
}

/** Tenants that are said to move while nobody moves them: the job was cancelled, or has failed. */
export async function findAbandoned(session: ReadSession): Promise<string[]> {
  const rows = await session.query<{ id: string }>(
    `select t.id from control.tenants t where t.status = 'moving' and not exists (
       select from control.jobs j where j.tenant = t.id and j.kind = 'move' and j.status in ('queued', 'running'))`,
  );
  return rows.map(({ id }) => id);
}

/** One process at a time works at a move, however long another one is taken for dead. @returns whether it is this one */
export async function claimWork(session: WriteSession, id: string): Promise<boolean> {
  const [row] = await session.query<{ taken: boolean }>(
    `select pg_try_advisory_xact_lock(hashtextextended('tenantry mover ' || $1::text, 0)) as taken`,
    [id],
  );
  return row?.taken === true;
}

/**
 * From the moment that this begins to wait until the transaction ends nobody else writes a row of the tenant where its
 * guards are; when it returns all who have written have ended. The same key as in control.guard_move().
 *
 * @throws AppError unavailable when somebody writes for longer than the transaction waits for locks
 */
export async function raiseFence(session: WriteSession, id: string): Promise<void> {
  await session.query(
    `select pg_advisory_xact_lock(hashtextextended('tenantry move ' || $1::text, 0))`,
    [id],
    {},
    'tenants.fence',
  );
}
