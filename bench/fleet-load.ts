import { setTimeout as sleep } from 'node:timers/promises';
import { withClient } from './connection.ts';
import { askQuietly, type QuietOutcome } from './fairness-quiet.ts';
import { numberOf, schemaOf, slugOf } from './fleet-population.ts';
import { type FleetJob, type FleetOutcome, runFleet } from './fleet-run.ts';
import type { FleetSteps } from './fleet-steps.ts';
import { percentile } from './percentile.ts';
import { productsPerTenant } from './population.ts';
import type { BenchRequest, Requests } from './request.ts';
import type { ServerProcess } from './server-process.ts';
import { below } from './workload.ts';
import type { World } from './world.ts';

/** What tenants notice while the fleet is migrated under them, again and again. */
export interface LoadOptions {
  world: World;
  /** As always, and without replicas. */
  servers: { replicated: ServerProcess; alone: ServerProcess };
  /** Of the first of them. */
  metricsUrl: string;
  requests: Requests;
  steps: FleetSteps;
  /** Tenants that are migrated. */
  loaded: number;
  /** The first of them, whose requests are measured. */
  asked: number;
  /** The first of these: a report reads their tables for seconds, where there is one. */
  reported: number;
  perSecond: number;
  seconds: number;
  parallel: number;
}

/** What happens besides. */
export interface LoadCase {
  label: string;
  migrate: boolean;
  /** The run knows what is served, and gives way. */
  watched: boolean;
  /** A report reads tables of some tenants, and the server that is asked has no replica that would answer reads meanwhile. */
  report: boolean;
  patience: NonNullable<FleetJob['patience']>;
}

export const loadCases: readonly LoadCase[] = [
  { label: 'no migration', migrate: false, watched: false, report: false, patience: 'ladder' },
  { label: 'migrating, giving way', migrate: true, watched: true, report: false, patience: 'ladder' },
  { label: 'migrating at full speed', migrate: true, watched: false, report: false, patience: 'ladder' },
  {
    label: 'report, migrating with the ladder',
    migrate: true,
    watched: false,
    report: true,
    patience: 'ladder',
  },
  { label: 'report, migrating without', migrate: true, watched: false, report: true, patience: 'endless' },
];

export interface LoadOutcome extends Asked {
  /** Steps that asked tenants got while they were measured. */
  steps: { reported: number; others: number };
  runs: FleetOutcome[];
}

export interface Asked {
  /** Tenants whose tables the report reads. */
  reported: QuietOutcome;
  others: QuietOutcome;
}

const connections = 64;
/** A report holds its locks for so long, longer than a run takes to come to its tables, and is asked for again so much later. */
const [reportS, betweenMs] = [5, 500];

let keys = 0;

export async function measureLoad(options: LoadOptions, one: LoadCase): Promise<LoadOutcome> {
  const { world, seconds } = options;
  const over = new AbortController();
  const startedAt = await withClient(world.ownerUrl, async (client) => {
    const { rows } = await client.query<{ now: string }>('select clock_timestamp()::text as now');
    return rows[0]?.now ?? '';
  });
  const server = options.servers[one.report ? 'alone' : 'replicated'];

  async function measured(): Promise<Omit<LoadOutcome, 'runs'>> {
    const asked = await ask(options, server, seconds);
    const steps = await stepsSince(options, startedAt);
    over.abort();
    return { ...asked, steps };
  }

  const [outcome, runs] = await Promise.all([
    measured(),
    one.migrate ? migrate(options, one, over.signal) : [],
    one.report ? report(options, over.signal) : undefined,
  ]);
  return { ...outcome, runs };
}

/** Both groups at once, each tenant as often as any other: by id, pages, and every tenth an insert. */
export async function ask(
  { requests, asked, reported, perSecond }: LoadOptions,
  server: ServerProcess,
  seconds: number,
): Promise<Asked> {
  const group = (first: number, count: number) => {
    let n = 0;
    return askQuietly({
      ...{ url: server.url, seconds, connections, perSecond: (perSecond * count) / asked },
      requests() {
        n += 1;
        return requestOf(requests, numberOf(first + below(count)), n);
      },
    });
  };
  const [ofReport, others] = await Promise.all([group(0, reported), group(reported, asked - reported)]);
  return { reported: ofReport, others };
}

function requestOf(requests: Requests, tenant: number, n: number): BenchRequest {
  keys += 1;
  if (n % 10 === 0) return requests.insert(tenant, 1, `fleet-${keys}`);
  if (n % 2 === 0) return requests.page(tenant, 0);
  return requests.product(tenant, 0, below(productsPerTenant));
}

/** A step after another, each for itself. */
async function migrate(
  { world, steps, loaded, asked, parallel, metricsUrl }: LoadOptions,
  { report: reporting, patience, watched }: LoadCase,
  over: AbortSignal,
): Promise<FleetOutcome[]> {
  // Where a report is read, runs are about nothing else.
  const tenants = Array.from({ length: reporting ? asked : loaded }, (_, member) => slugOf(member));
  const runs: FleetOutcome[] = [];
  while (!over.aborted) {
    keys += 1;
    await steps.addToLadder(`load_${keys}`);
    runs.push(
      await runFleet(world, steps.newer, {
        parallel,
        tenants,
        patience,
        ...(watched ? { watch: metricsUrl } : {}),
      }),
    );
  }
  return runs;
}

/** One transaction that has read a table of each of them, and is at work on it. */
function report({ world, reported }: LoadOptions, over: AbortSignal): Promise<void> {
  return withClient(world.ownerUrl, async (client) => {
    while (!over.aborted) {
      await client.query('begin');
      for (let member = 0; member < reported; member += 1) {
        await client.query(`select count(*) from "${schemaOf(member)}".products`);
      }
      await client.query(`select pg_sleep(${reportS})`);
      await client.query('commit');
      await sleep(betweenMs);
    }
  });
}

function stepsSince({ world, asked, reported }: LoadOptions, since: string): Promise<LoadOutcome['steps']> {
  return withClient(world.ownerUrl, async (client) => {
    const count = async (first: number, many: number) => {
      const schemas = Array.from({ length: many }, (_, n) => schemaOf(first + n));
      const { rows } = await client.query<{ n: string }>(
        `select count(*) as n from control.migration_ledger
         where applied_at > $1::timestamptz and schema_name = any ($2)`,
        [since, schemas],
      );
      return Number(rows[0]?.n);
    };
    return { reported: await count(0, reported), others: await count(reported, asked - reported) };
  });
}

export function tellLoad(one: LoadCase, outcome: LoadOutcome): string {
  const { reported, others, steps, runs } = outcome;
  const lines = [`${one.label}: ${figures(together(outcome))}`];
  if (one.migrate) lines.push(`  ${tellRuns(runs)}; ${steps.reported + steps.others} steps in these tenants`);
  if (one.report) {
    lines.push(`  tenants of the report: ${figures(reported)}; ${steps.reported} steps`);
    lines.push(`  the other tenants: ${figures(others)}; ${steps.others} steps`);
  }
  return `${lines.join('\n')}\n`;
}

function tellRuns(runs: readonly FleetOutcome[]): string {
  const seconds = runs.map(({ timed }) => (timed.ms / 1000).toFixed(1)).join(', ');
  const failed = runs
    .filter(({ report }) => report.status !== 'succeeded')
    .map(({ report }) => report.status);
  const unwell = runs.flatMap((run) => run.unwell);
  const retries = runs.reduce((all, run) => all + run.retries, 0);
  return (
    `runs: ${seconds} s${failed.length === 0 ? '' : `, ${failed.join(', ')}`}; ${retries} tries for locks in vain; ` +
    `held ${unwell.length} times${unwell.length === 0 ? '' : `, as when ${unwell[0]}`}`
  );
}

export function p99Of(outcome: Asked): number {
  return percentile(sorted(together(outcome).latenciesMs), 99);
}

function together({ reported, others }: Asked): QuietOutcome {
  return {
    latenciesMs: [...reported.latenciesMs, ...others.latenciesMs],
    failed: sum(reported.failed, others.failed),
  };
}

function figures({ latenciesMs, failed }: QuietOutcome): string {
  const all = sorted(latenciesMs);
  const at = (p: number) => percentile(all, p).toFixed(1);
  const many = Object.values(failed).reduce((total, times) => total + times, 0);
  const by = many === 0 ? '' : ` ${JSON.stringify(failed)}`;
  return `${many} of ${all.length} failed${by}, p50 ${at(50)}, p99 ${at(99)}, max ${at(100)} ms`;
}

const sorted = (figures: readonly number[]) => figures.toSorted((a, b) => a - b);

function sum(one: Record<string, number>, other: Record<string, number>): Record<string, number> {
  const total = { ...one };
  for (const [status, times] of Object.entries(other)) total[status] = (total[status] ?? 0) + times;
  return total;
}
