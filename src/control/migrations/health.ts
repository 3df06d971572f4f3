import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../../clock.ts';
import type { ControlDatabase, NodeFigures } from '../../db/index.ts';

/** Whether the fleet may be troubled further. */
export interface Health {
  /** @returns what is wrong, in words; undefined when nothing is */
  check(): Promise<string | undefined>;
  /** Whether clients were being answered when it was looked last, as far as that is watched. */
  busy(): boolean;
}

export interface HealthParts {
  database: ControlDatabase;
  /** Undefined where the replicas are not known. */
  nodes: (() => readonly Pick<NodeFigures, 'name' | 'role' | 'state' | 'lagMs'>[]) | undefined;
  /** A replica further behind is too far behind. */
  maxLagMs: number;
  /** `/metrics` of processes that serve tenants: their share of answers with a status of 500 and more is looked at. */
  watch: readonly string[];
  clock: Clock;
  /** Default fetch. For tests. */
  read?: (url: string) => Promise<string>;
}

/** Statements of others that wait for a lock on a table: so many, or one for so long. */
const maxWaiting = 20;
const maxWaitingMs = 1000;
/** Of all answers since the last look, when there are enough to tell. */
const maxFailing = 0.01;
const enoughAnswers = 50;
const firstLookMs = 200;
/** Answers a second, of all that are watched, from which on others are given way to. */
const busyPerSecond = 10;

export function createHealth(parts: HealthParts): Health {
  const { database, nodes, maxLagMs, watch, clock, read = readMetrics } = parts;
  const last = new Map<string, Answers>();
  /** Of each look at a process. */
  const looks = new Map<string, { all: number; atMs: number; perSecond: number }>();

  function noteRate(url: string, { all }: Answers): void {
    const [atMs, before] = [clock.monotonicMs(), looks.get(url)];
    const seconds = (atMs - (before?.atMs ?? atMs)) / 1000;
    const grown = Math.max(0, all - (before?.all ?? all));
    looks.set(url, { all, atMs, perSecond: seconds > 0 ? grown / seconds : 0 });
  }

  const lag = () =>
    nodes?.().find(
      ({ role, state, lagMs }) => role === 'replica' && state !== 'down' && (lagMs ?? 0) > maxLagMs,
    );

  async function errors(url: string): Promise<string | undefined> {
    let now = answersIn(await read(url));
    noteRate(url, now);
    if (!last.has(url)) {
      await sleep(firstLookMs); // so that it is known from the beginning
      now = answersIn(await read(url));
      noteRate(url, now);
    }
    const before = last.get(url);
    if (before === undefined || now.all < before.all) {
      last.set(url, now); // the first look, or a process that was started anew
      return undefined;
    }
    const [all, failed] = [now.all - before.all, now.failed - before.failed];
    if (all < enoughAnswers) return undefined;
    last.set(url, now);
    if (failed / all <= maxFailing) return undefined;
    return `${failed} of the last ${all} answers of ${url} were failures`;
  }

  return {
    async check() {
      const behind = lag();
      if (behind !== undefined) return `${behind.name} is ${Math.round(behind.lagMs ?? 0)} ms behind`;
      const { waiting, longestMs } = await database.read(async (session) => {
        const [row] = await session.query<{ waiting: number; longestMs: number }>(lockQueue);
        return row ?? { waiting: 0, longestMs: 0 };
      });
      if (waiting >= maxWaiting) return `${waiting} statements wait for locks on tables`;
      if (longestMs > maxWaitingMs) return `a statement has waited for a lock on a table for ${longestMs} ms`;
      for (const url of watch) {
        const failing = await errors(url).catch((error: Error) => `${url} cannot be read: ${error.message}`);
        if (failing !== undefined) return failing;
      }
      return undefined;
    },
    busy: () => [...looks.values()].reduce((sum, { perSecond }) => sum + perSecond, 0) >= busyPerSecond,
  };
}

/** Ours are left out: they wait with short time-outs and are nobody's trouble but the run's. */
const lockQueue = `
  select count(*) as waiting,
    coalesce(max(extract(epoch from clock_timestamp() - l.waitstart) * 1000), 0)::int as "longestMs"
  from pg_locks l join pg_stat_activity a using (pid)
  where not l.granted and l.locktype = 'relation' and a.application_name not like 'tenantry-migrate%'`;

interface Answers {
  all: number;
  failed: number;
}

const sample = /^tenantry_http_requests_total\{[^}]*status="(\d+)"[^}]*\} (\d+)/gm;

/** Of the exposition that GET /metrics gives. */
export function answersIn(exposition: string): Answers {
  const answers = { all: 0, failed: 0 };
  for (const [, status, count] of exposition.matchAll(sample)) {
    answers.all += Number(count);
    if (Number(status) >= 500) answers.failed += Number(count);
  }
  return answers;
}

async function readMetrics(url: string): Promise<string> {
  const response = await fetch(url, { signal: AbortSignal.timeout(2000) });
  if (!response.ok) throw new Error(`it answers ${response.status}`);
  return response.text();
}
