import type { RunEvent } from '../src/control/migrations/journal.ts';
import type { RunReport } from '../src/control/migrations/report.ts';
import type { Compiled } from './compiled.ts';
import { runTimed, type Timed } from './timed-process.ts';
import type { World } from './world.ts';

/** One run of ours over the fleet: `tenantry migrate up` as a process. */
export interface FleetJob {
  parallel: number;
  /** These tenants alone, by slug. Default all. */
  tenants?: readonly string[];
  /** How it comes by its locks. Default `ladder`: short tries, as always; `endless`: no time-out. */
  patience?: 'ladder' | 'endless';
  /** MIGRATE_WATCH_URLS */
  watch?: string;
}

export interface FleetOutcome {
  report: RunReport;
  /** Why it waited for the database to be well again. */
  unwell: string[];
  /** Tries for locks in vain. */
  retries: number;
  timed: Timed;
}

/** @throws with what it wrote to stderr when it has nothing to report */
export async function runFleet(
  world: World,
  build: Compiled,
  { parallel, tenants = [], patience = 'ladder', watch = '' }: FleetJob,
): Promise<FleetOutcome> {
  const command = ['migrate', 'up', '--json', '--parallel', String(parallel)];
  if (tenants.length > 0) command.push('--tenant', ...tenants);
  const [source, args] =
    patience === 'ladder'
      ? ['src/cli/main.ts', command]
      : ['bench/fleet-process.ts', [String(parallel), ...tenants]];
  const timed = await runTimed(build, source, args, {
    DATABASE_URL: world.app.primaryUrl,
    DATABASE_REPLICA_URLS: world.app.replicaUrls.join(','),
    DATABASE_ADMIN_URL: world.ownerUrl,
    MIGRATE_WATCH_URLS: watch,
  });
  const lines = timed.stdout.split('\n').filter((line) => line !== '');
  const events = lines.map((line) => JSON.parse(line) as RunEvent | ({ type: 'report' } & RunReport));
  const report = events.find((event) => event.type === 'report');
  if (report === undefined) throw new Error(`The run ended: ${timed.stderr}`);
  return {
    ...{ report, timed },
    unwell: events.flatMap((event) => (event.type === 'unwell' ? [event.reason] : [])),
    retries: events.filter(({ type }) => type === 'retry').length,
  };
}

/** What came of a run, for people who wanted something else. */
export function told({ status, reason, counts, results }: RunReport): string {
  const errors = results.flatMap(({ schema, error }) => (error === undefined ? [] : [`${schema}: ${error}`]));
  return [`${status}, ${JSON.stringify(counts)}`, reason ?? '', ...errors.slice(0, 3)].join('\n');
}
