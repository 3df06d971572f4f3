import type { ReadSession } from '../../../db/index.ts';

/** What the last purge of the tenant that did not come to its end has left in its state; `{}` for none. */
export async function earlierPurge(session: ReadSession, job: string, tenant: string): Promise<object> {
  const [row] = await session.query<{ state: object }>(
    `select state from control.jobs where tenant = $2 and kind = 'purge' and id <> $1 and state ? 'deleted'
     order by created_at desc, id desc limit 1`,
    [job, tenant],
  );
  return row?.state ?? {};
}

/** Another job that is at work for the tenant. */
export async function otherJob(session: ReadSession, tenant: string): Promise<string | undefined> {
  const [row] = await session.query<{ kind: string }>(
    `select kind from control.jobs where tenant = $1 and kind <> 'purge' and status in ('queued', 'running') limit 1`,
    [tenant],
  );
  return row?.kind;
}

/** When the tenant was deleted, as the first purge was told; undefined before there was one. */
export async function deletionOfEarlier(session: ReadSession, tenant: string): Promise<string | undefined> {
  const [row] = await session.query<{ at: string }>(
    `select input ->> 'deletedAt' as at from control.jobs where tenant = $1 and kind = 'purge'
     order by created_at, id limit 1`,
    [tenant],
  );
  return row?.at;
}
