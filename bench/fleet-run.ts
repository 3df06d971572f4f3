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
}

/** @throws with what it wrote to stderr when it has nothing to report */
export async function runFleet(
  world: World,
  build: Compiled,
  { parallel, tenants = [], patience = 'ladder' }: FleetJob,
): Promise<{ report: RunReport; timed: Timed }> {
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
  });
  const last = timed.stdout.trimEnd().split('\n').at(-1) ?? '';
  if (!last.startsWith('{"type":"report"')) throw new Error(`The run ended: ${timed.stderr}`);
  return { report: JSON.parse(last) as RunReport, timed };
}

/** What came of a run, for people who wanted something else. */
export function told({ status, reason, counts, results }: RunReport): string {
  const errors = results.flatMap(({ schema, error }) => (error === undefined ? [] : [`${schema}: ${error}`]));
  return [`${status}, ${JSON.stringify(counts)}`, reason ?? '', ...errors.slice(0, 3)].join('\n');
}
