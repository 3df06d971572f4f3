import type { Page, PageRequest, ReadSession, WriteSession } from '../../db/index.ts';
import { build } from '../../version.ts';
import type { Wanted } from './lease.ts';
import type { CanaryChoice } from './waves.ts';

/** The table control.migration_runs: what runs there have been, how far they are, and how they ended. */
export const runStatuses = [
  'queued',
  'running',
  'paused',
  'succeeded',
  'failed',
  'halted',
  'cancelled',
  'abandoned',
] as const;
/**
 * `failed`: some schemas were not migrated; `halted`: it stopped by itself; `abandoned`: its process died, and another
 * run has taken the lease over.
 */
export type RunStatus = (typeof runStatuses)[number];

/** As an operator gives them. */
export interface RunChoices {
  /** Schemas at the same time. */
  parallel?: number | undefined;
  /** See CanaryChoice. */
  canary?: CanaryChoice | undefined;
  /** Failures that are put up with before the run halts. */
  maxFailures?: number | undefined;
  /** These tenants' schemas alone, by slug, beside control and shared. */
  tenants?: readonly string[] | undefined;
}

export interface RunView {
  id: string;
  status: RunStatus;
  /** What it was last asked to do. */
  wanted: Wanted;
  options: RunChoices;
  requestedBy: string | null;
  build: string | null;
  wave: string | null;
  /** Schemas that waited when it began, and what has come of them. */
  progress: { total: number; applied: number; failed: number; skipped: number };
  /** Why it ended as it did. */
  reason: string | null;
  createdAt: string;
  startedAt: string | null;
  finishedAt: string | null;
}

export interface Progress {
  wave: string | null;
  total: number;
  applied: number;
  failed: number;
  skipped: number;
}

const selection = `id, status, wanted, options, requested_by as "requestedBy", build, wave,
  jsonb_build_object('total', total, 'applied', applied, 'failed', failed, 'skipped', skipped) as progress,
  reason, created_at as "createdAt", started_at as "startedAt", finished_at as "finishedAt"`;

export async function insertRun(
  session: WriteSession,
  { id, options, requestedBy }: { id: string; options: RunChoices; requestedBy: string },
): Promise<void> {
  await session.query(
    `insert into control.migration_runs (id, status, options, requested_by) values ($1, 'queued', $2, $3)`,
    [id, JSON.stringify(options), requestedBy],
  );
}

/** @returns false when it has ended, so that there is nothing to begin */
export async function beginRun(session: WriteSession, id: string): Promise<boolean> {
  const rows = await session.query(
    `update control.migration_runs set status = 'running', build = $2, started_at = coalesce(started_at, now()),
       finished_at = null, reason = null
     where id = $1 and status in ('queued', 'running', 'paused') returning id`,
    [id, build],
  );
  return rows.length > 0;
}

export async function saveProgress(
  session: WriteSession,
  id: string,
  { wave, total, applied, failed, skipped }: Progress,
): Promise<void> {
  await session.query(
    `update control.migration_runs set wave = $2, total = $3, applied = $4, failed = $5, skipped = $6
     where id = $1`,
    [id, wave, total, applied, failed, skipped],
  );
}

export async function setStatus(
  session: WriteSession,
  id: string,
  status: RunStatus,
  reason: string | null,
): Promise<void> {
  const ended = !['queued', 'running', 'paused'].includes(status);
  await session.query(
    `update control.migration_runs set status = $2, reason = $3, finished_at = case when $4 then now() end
     where id = $1 and status in ('queued', 'running', 'paused')`,
    [id, status, reason, ended],
  );
}

/** @returns undefined for a run that has ended, or never was */
export async function want(session: WriteSession, id: string, wanted: Wanted): Promise<RunView | undefined> {
  const rows = await session.query<RunView>(
    `update control.migration_runs set wanted = $2
     where id = $1 and status in ('queued', 'running', 'paused') returning ${selection}`,
    [id, wanted],
  );
  return rows[0];
}

export async function findRun(session: ReadSession, id: string): Promise<RunView | undefined> {
  const rows = await session.query<RunView>(`select ${selection} from control.migration_runs where id = $1`, [
    id,
  ]);
  return rows[0];
}

/**
 * The one that is under way, or waits for a process to take it. One whose process has died, and that no job will go on
 * with, is not.
 */
export async function findLive(session: ReadSession): Promise<RunView | undefined> {
  const rows = await session.query<RunView>(
    `select ${selection} from control.migration_runs r
     where status in ('queued', 'running', 'paused') and (
       exists (select from control.migration_lease l where l.run = r.id and l.expires_at > now())
       or exists (select from control.jobs j where j.kind = 'migrate' and j.status in ('queued', 'running')
         and j.input ->> 'run' = r.id::text))
     order by created_at limit 1`,
  );
  return rows[0];
}

/** By time of creation. */
export async function pageOfRuns(
  session: ReadSession,
  { limit, sort, after, where = {} }: PageRequest<{ createdAt: string; status: RunStatus }>,
): Promise<Page<RunView>> {
  const { direction } = sort;
  const beyond = direction === 'asc' ? '>' : '<';
  const rows = await session.query<RunView>(
    `select ${selection} from control.migration_runs
     where ($2::timestamptz is null or (created_at, id) ${beyond} ($2::timestamptz, $3::uuid))
       and ($4::text is null or status = $4)
     order by created_at ${direction}, id ${direction} limit $1`,
    [limit + 1, after?.value ?? null, after?.id ?? null, where.status ?? null],
  );
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const more = rows.length > limit && last !== undefined;
  return { rows: shown, next: more ? { value: last.createdAt, id: last.id } : undefined };
}

export async function countRuns(session: ReadSession, status?: RunStatus): Promise<number> {
  const rows = await session.query<{ n: number }>(
    'select count(*) as n from control.migration_runs where ($1::text is null or status = $1)',
    [status ?? null],
  );
  return rows[0]?.n ?? 0;
}

/** What happened in a run, numbered from 1. */
export interface KeptEvent {
  seq: number;
  at: string;
  event: Record<string, unknown>;
}

export async function addEvents(
  session: WriteSession,
  run: string,
  events: readonly { seq: number; atMs: number; event: object }[],
): Promise<void> {
  await session.query(
    `insert into control.migration_events (run, seq, at, event)
     select $1, seq, to_timestamp(at / 1000), event
     from unnest($2::bigint[], $3::float8[], $4::jsonb[]) as e (seq, at, event)
     on conflict do nothing`,
    [
      run,
      events.map(({ seq }) => seq),
      events.map(({ atMs }) => atMs),
      events.map(({ event }) => JSON.stringify(event)),
    ],
  );
}

export async function lastEvent(session: ReadSession, run: string): Promise<number> {
  const rows = await session.query<{ seq: number }>(
    'select coalesce(max(seq), 0) as seq from control.migration_events where run = $1',
    [run],
  );
  return rows[0]?.seq ?? 0;
}

export function eventsAfter(
  session: ReadSession,
  run: string,
  seq: number,
  limit: number,
): Promise<KeptEvent[]> {
  return session.query<KeptEvent>(
    `select seq, at, event from control.migration_events where run = $1 and seq > $2 order by seq limit $3`,
    [run, seq, limit],
  );
}
