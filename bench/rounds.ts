import { type Contender, poolMax, readAfterWriteWindowMs } from './contender.ts';
import type { LoadOutcome } from './load.ts';
import type { LoadProcess } from './load-process.ts';
import type { Measurement } from './measurement.ts';
import type { Pgbench } from './pgbench.ts';
import type { ServerProcess } from './server-process.ts';
import type { Workload } from './workload.ts';
import type { World } from './world.ts';

/** A contender that is up. */
export interface Running {
  contender: Contender;
  server: ServerProcess;
}

export interface RoundsOptions {
  rounds: number;
  seconds: number;
  connections: number;
  workloads: readonly Workload[];
  running: readonly Running[];
  pgbench: Pgbench | undefined;
  load: LoadProcess;
  world: World;
  onProgress: (message: string) => void;
}

/** A moment under each workload, so that nobody is measured while its code is being compiled. Not counted. */
const warmUpSeconds = 2;
let runs = 0;

/**
 * Each round goes through the workloads, each workload through the contenders, beginning with another one every round: a
 * slow minute of the machine does not always hit the same.
 *
 * @throws at the first answer that is not 2xx, and at the first read that misses its actor's own write
 */
export async function measureRounds(options: RoundsOptions): Promise<Measurement[]> {
  const { rounds, seconds, workloads, running, onProgress } = options;
  const measurements: Measurement[] = [];
  for (const workload of workloads) {
    onProgress(`Warming up ${workload}`);
    for (const one of running) await measure(options, one, workload, Math.min(warmUpSeconds, seconds));
  }
  for (let round = 1; round <= rounds; round += 1) {
    for (const workload of workloads) {
      onProgress(`Round ${round} of ${rounds}: ${workload}`);
      for (const one of rotated(running, round - 1)) {
        const measured = await measure(options, one, workload, seconds);
        measurements.push({ ...measured, round });
      }
      const floor = await measureFloor(options, workload);
      if (floor !== undefined) measurements.push({ ...floor, round });
    }
  }
  return measurements;
}

type Unnumbered = Omit<Measurement, 'round'>;

async function measure(
  { load, world, connections }: RoundsOptions,
  { contender, server }: Running,
  workload: Workload,
  seconds: number,
): Promise<Unnumbered> {
  const before = await server.cpuMs();
  runs += 1;
  const outcome = await load.run({
    url: server.url,
    dialect: contender.dialect,
    jwtSecret: world.jwtSecret,
    workload,
    seconds,
    connections,
    run: `run-${runs}`,
    windowMs: readAfterWriteWindowMs,
  });
  const after = await server.cpuMs();
  requireSound(`${contender.label}, ${workload}`, outcome);
  const cpuMs = before === undefined || after === undefined ? undefined : after - before;
  return {
    ...figures(outcome),
    contender: contender.key,
    workload,
    cpuUs: cpuMs && (cpuMs * 1000) / outcome.completed,
  };
}

async function measureFloor(
  { pgbench, world, seconds }: RoundsOptions,
  workload: Workload,
): Promise<Unnumbered | undefined> {
  const outcome = await pgbench?.run(workload, { url: world.plainUrl, clients: poolMax, seconds });
  if (outcome === undefined) return undefined;
  requireSound(`pgbench, ${workload}`, outcome);
  return { ...figures(outcome), contender: 'pgbench', workload, cpuUs: undefined };
}

function figures({ requestsPerSecond, completed, p50Ms, p99Ms, routing }: LoadOutcome) {
  return { requestsPerSecond, completed, p50Ms, p99Ms, routing };
}

function requireSound(who: string, { failure, completed, routing }: LoadOutcome): void {
  if (routing !== undefined && routing.stale > 0) {
    throw new Error(`${who}: ${routing.stale} reads of ${routing.ownReads} missed their actor's own write`);
  }
  if (failure !== undefined) throw new Error(`${who}: ${failure}`);
  if (completed === 0) throw new Error(`${who}: not one answer`);
}

/** The same from another one on, in the same order. */
export function rotated<T>(items: readonly T[], by: number): T[] {
  const start = by % Math.max(items.length, 1);
  return [...items.slice(start), ...items.slice(0, start)];
}
