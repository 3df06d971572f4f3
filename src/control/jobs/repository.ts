import type { Page, PageRequest, ReadSession, WriteSession } from '../../db/index.ts';
import type { JobProgress, JobStatus, JobView, Saved } from './job.ts';

/**
 * The table control.jobs beside graphile-worker's queue, in one database and so in one transaction. The queue knows when
 * to run what; this table what it is about, how far it is, and how it ended.
 */
export const queueSchema = 'graphile_worker';

const constraints = {
  jobs_live_key: { code: 'job_under_way', detail: 'A job of this kind is under way for the tenant.' },
} as const;

const selection = `id, kind, tenant, status, attempts, cancel_requested as "cancelRequested", result, error,
  jsonb_build_object('done', done, 'total', total, 'unit', unit) as progress,
  created_at as "createdAt", started_at as "startedAt", finished_at as "finishedAt"`;

export interface NewJob {
  id: string;
  kind: string;
  tenant: string | null;
  input: object;
}

/** @throws AppError job_under_way when the tenant has a job of this kind that has not ended */
export async function insertJob(session: WriteSession, { id, kind, tenant, input }: NewJob): Promise<void> {
  await session.query(
    'insert into control.jobs (id, kind, tenant, input) values ($1, $2, $3, $4)',
    [id, kind, tenant, JSON.stringify(input)],
    constraints,
  );
  await enqueue(session, { id, kind }, 0);
}

/** Replaces what the queue holds for the job. */
export async function enqueue(
  session: WriteSession,
  { id, kind }: { id: string; kind: string },
  delayMs: number,
): Promise<void> {
  // How often it is run is counted in control.jobs; the queue itself must never give it up.
  await session.query(
    `select from ${queueSchema}.add_job($1, json_build_object('job', $2::text), job_key => $2::text,
       run_at => now() + $3 * interval '1 millisecond', max_attempts => 1000)`,
    [kind, id, delayMs],
  );
}

export async function findJob(session: ReadSession, id: string): Promise<JobView | undefined> {
  const rows = await session.query<JobView>(`select ${selection} from control.jobs where id = $1`, [id]);
  return rows[0];
}

/** By time of creation. */
export async function pageOfJobs(
  session: ReadSession,
  { limit, sort, after, where = {} }: PageRequest<JobFilter>,
): Promise<Page<JobView>> {
  const { direction } = sort;
  const beyond = direction === 'asc' ? '>' : '<';
  const rows = await session.query<JobView>(
    `select ${selection} from control.jobs
     where ($2::timestamptz is null or (created_at, id) ${beyond} ($2::timestamptz, $3::uuid))
       and ($4::text is null or status = $4) and ($5::text is null or kind = $5)
       and ($6::uuid is null or tenant = $6)
     order by created_at ${direction}, id ${direction} limit $1`,
    [
      limit + 1,
      after?.value ?? null,
      after?.id ?? null,
      ...[where.status ?? null, where.kind ?? null, where.tenant ?? null],
    ],
  );
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const more = rows.length > limit && last !== undefined;
  return { rows: shown, next: more ? { value: last.createdAt, id: last.id } : undefined };
}

export interface JobFilter {
  createdAt: string;
  status: JobStatus;
  kind: string;
  tenant: string;
}

export async function countJobs(session: ReadSession, where: Partial<JobFilter>): Promise<number> {
  const rows = await session.query<{ n: number }>(
    `select count(*) as n from control.jobs
     where ($1::text is null or status = $1) and ($2::text is null or kind = $2)
       and ($3::uuid is null or tenant = $3)`,
    [where.status ?? null, where.kind ?? null, where.tenant ?? null],
  );
  return rows[0]?.n ?? 0;
}

/** One that is queued ends at once; one that runs is asked to. Undefined when it has ended. */
export async function requestCancel(session: WriteSession, id: string): Promise<JobStatus | undefined> {
  const [row] = await session.query<{ status: JobStatus }>(
    `update control.jobs set cancel_requested = true,
       status = case status when 'queued' then 'cancelled' else status end,
       finished_at = case status when 'queued' then now() end
     where id = $1 and status in ('queued', 'running') returning status`,
    [id],
  );
  if (row?.status === 'cancelled') {
    await session.query(`select from ${queueSchema}.remove_job($1)`, [id]);
  }
  return row?.status;
}

/** What a run begins with. */
export interface Begun {
  kind: string;
  tenant: string | null;
  input: Record<string, unknown>;
  state: Record<string, unknown>;
  attempts: number;
}

/** Undefined when there is nothing to do: it has ended, or somebody else is at it. */
export async function beginRun(
  session: WriteSession,
  id: string,
  worker: string,
): Promise<Begun | undefined> {
  const [row] = await session.query<Begun>(
    `update control.jobs set status = 'running', worker = $2, heartbeat_at = now(), attempts = attempts + 1,
       started_at = coalesce(started_at, now())
     where id = $1 and status = 'queued' returning kind, tenant, input, state, attempts`,
    [id, worker],
  );
  return row;
}

export type Own = { id: string; worker: string };

/** Says that the run lives. @returns undefined when it is somebody else's by now */
export async function beat(
  session: WriteSession,
  { id, worker }: Own,
): Promise<{ cancel: boolean } | undefined> {
  const [row] = await session.query<{ cancel: boolean }>(
    `update control.jobs set heartbeat_at = now() where id = $1 and worker = $2 and status = 'running'
     returning cancel_requested as cancel`,
    [id, worker],
  );
  return row;
}

/** @returns undefined when the run is somebody else's by now */
export async function saveRun(
  session: WriteSession,
  { id, worker }: Own,
  saved: Saved,
): Promise<{ cancel: boolean } | undefined> {
  const { done, total, unit }: Partial<JobProgress> = saved.progress ?? {};
  const [row] = await session.query<{ cancel: boolean }>(
    `update control.jobs set heartbeat_at = now(), state = coalesce($3, state), done = coalesce($4, done),
       total = coalesce($5, total), unit = coalesce($6, unit)
     where id = $1 and worker = $2 and status = 'running' returning cancel_requested as cancel`,
    [
      id,
      worker,
      saved.state === undefined ? null : JSON.stringify(saved.state),
      ...[done ?? null, total ?? null, unit ?? null],
    ],
  );
  return row;
}

export type Ending =
  | { status: 'succeeded'; result: object }
  | { status: 'failed'; error: string }
  | { status: 'cancelled' };

/** @returns whether the run was still ours */
export async function endRun(session: WriteSession, { id, worker }: Own, ending: Ending): Promise<boolean> {
  const rows = await session.query(
    `update control.jobs set status = $3, worker = null, heartbeat_at = null, finished_at = now(),
       result = $4, error = $5
     where id = $1 and worker = $2 and status = 'running' returning id`,
    [
      id,
      worker,
      ending.status,
      'result' in ending ? JSON.stringify(ending.result) : null,
      'error' in ending ? ending.error : null,
    ],
  );
  return rows.length > 0;
}

/** Puts it back into the queue; one that was to be cancelled ends instead. */
export async function giveBack(
  session: WriteSession,
  { id, worker, kind }: Own & { kind: string },
  again: { delayMs: number; counts: boolean; error?: string },
): Promise<void> {
  const [row] = await session.query<{ status: JobStatus }>(
    `update control.jobs set worker = null, heartbeat_at = null,
       status = case when cancel_requested then 'cancelled' else 'queued' end,
       finished_at = case when cancel_requested then now() end,
       attempts = attempts - case when $3 then 0 else 1 end, error = coalesce($4, error)
     where id = $1 and worker = $2 and status = 'running' returning status`,
    [id, worker, again.counts, again.error ?? null],
  );
  if (row?.status === 'queued') await enqueue(session, { id, kind }, again.delayMs);
}

/** A job whose process has not been heard of: it runs without a heartbeat, or was taken from the queue and never begun. */
export interface Orphan {
  id: string;
  kind: string;
  status: JobStatus;
  worker: string | null;
  /** Who holds it in the queue. */
  heldBy: string | null;
  attempts: number;
}

export async function findOrphans(session: ReadSession, silentMs: number): Promise<Orphan[]> {
  return session.query<Orphan>(
    `select j.id, j.kind, j.status, j.worker, q.locked_by as "heldBy", j.attempts
     from control.jobs j left join ${queueSchema}.jobs q on q.key = j.id::text
     where (j.status = 'running' and j.heartbeat_at < now() - $1 * interval '1 millisecond')
       or (j.status = 'queued' and q.locked_at < now() - $1 * interval '1 millisecond')
       or (j.status = 'queued' and q.key is null and j.created_at < now() - $1 * interval '1 millisecond')`,
    [silentMs],
  );
}

/** Locks an orphan that still is one. @returns false when it has been heard of, or taken over, meanwhile */
export async function lockOrphan(
  session: WriteSession,
  { id, status, worker }: Orphan,
  silentMs: number,
): Promise<boolean> {
  const rows = await session.query(
    `select from control.jobs where id = $1 and status = $2 and worker is not distinct from $3
       and coalesce(heartbeat_at < now() - $4 * interval '1 millisecond', true)
     for update skip locked`,
    [id, status, worker, silentMs],
  );
  return rows.length > 0;
}

/** graphile-worker keeps a dead worker's locks for four hours. A worker that has a living job keeps them here, too. */
export async function unlockWorker(session: WriteSession, worker: string, silentMs: number): Promise<void> {
  const living = await session.query(
    `select from control.jobs
     where worker = $1 and heartbeat_at >= now() - $2 * interval '1 millisecond'`,
    [worker, silentMs],
  );
  if (living.length > 0) return;
  await session.query(`select from ${queueSchema}.force_unlock_workers(array[$1])`, [worker]);
}
