import { fork } from 'node:child_process';
import { once } from 'node:events';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { type Compiled, compile } from './compiled.ts';
import { startTenantry } from './contender.ts';
import type { FloodJob, FloodOutcome } from './fairness-flood.ts';
import { askQuietly, type QuietOutcome } from './fairness-quiet.ts';
import { describeCommit, describeMachine } from './machine.ts';
import { positive } from './options.ts';
import { percentile } from './percentile.ts';
import { productsPerTenant } from './population.ts';
import { createRequests } from './request.ts';
import type { ServerProcess } from './server-process.ts';
import { createMint } from './token.ts';
import { withWorld, type World } from './world.ts';
import { below } from './workload.ts';

/** What a quiet tenant notices of a flood: its latencies alone, and beside the flood with and without fair shares. */
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '15' },
    connections: { type: 'string', default: '64' },
    rows: { type: 'string', default: '200000' },
  },
});
const rounds = positive('rounds', values.rounds);
const seconds = positive('seconds', values.seconds);
const floodConnections = positive('connections', values.connections);
const floodRows = positive('rows', values.rows);

const quietTenant = 1;
const floodTenant = 0;
const quiet = { connections: 8, perSecond: 20 };
/** There is no such product and no index that says so: all rows of the tenant are read for the page, and again to count. */
const floodPath = '/v1/products?filter[currency]=EUR&count=exact&limit=1';

const cases = ['alone', 'flood, fair', 'flood, off'] as const;
type Case = (typeof cases)[number];

interface Measured extends QuietOutcome {
  flood: FloodOutcome | undefined;
  /** Of the server process, share of one core. */
  serverCpu: number | undefined;
  /** Of everything on this machine, share of all cores. */
  machineCpu: number;
}

const progress = (message: string) => void process.stderr.write(`${message}\n`);

await bench();

async function bench(): Promise<void> {
  const machine = describeMachine();
  const { id, dirty } = await describeCommit();
  progress('Compiling');
  const compiled = await compile();
  await withWorld({ compiled, onProgress: progress, moreRows: floodRows }, async (world) => {
    const measured = new Map<Case, Measured[]>(cases.map((one) => [one, []]));
    for (let round = 1; round <= rounds; round += 1) {
      for (const one of cases) {
        progress(`Round ${round}: ${one}`);
        measured.get(one)?.push(await measure(one, world, compiled, `${round}`));
      }
    }
    process.stdout.write(`${machine.cpu}, ${machine.cores} cores, load before ${machine.loadBefore}, `);
    process.stdout.write(`Node ${machine.node}, PostgreSQL ${world.postgresVersion}, `);
    process.stdout.write(`${id}${dirty ? ' with changes' : ''}\n\n${tell(measured)}`);
  });
}

async function measure(one: Case, world: World, compiled: Compiled, run: string): Promise<Measured> {
  const server = await startTenantry(world, compiled, [], {
    DATABASE_ADMISSION: one === 'flood, off' ? 'off' : 'fair',
  });
  try {
    await ask(server, world, `${run}-warm`, 2);
    if (one === 'alone') return await watched(server, () => ask(server, world, run, seconds));
    return await underFlood(server, world, () =>
      watched(server, () => ask(server, world, `${run}-${one}`, seconds)),
    );
  } finally {
    await server.stop();
  }
}

/** By id, pages, and every tenth an insert. */
function ask(server: ServerProcess, world: World, run: string, forSeconds: number): Promise<QuietOutcome> {
  const requests = createRequests('token', createMint(world.jwtSecret));
  let n = 0;
  return askQuietly({
    ...{ url: server.url, seconds: forSeconds, ...quiet },
    requests() {
      n += 1;
      if (n % 10 === 0) return requests.insert(quietTenant, 1, `${run}-${n}`);
      if (n % 2 === 0) return requests.page(quietTenant, 0);
      return requests.product(quietTenant, 0, below(productsPerTenant));
    },
  });
}

async function underFlood(
  server: ServerProcess,
  world: World,
  fn: () => Promise<Measured>,
): Promise<Measured> {
  const child = fork(path.join(import.meta.dirname, 'fairness-flood.ts'), { execArgv: ['--import', 'tsx'] });
  try {
    const job: FloodJob = {
      url: server.url,
      token: createMint(world.jwtSecret)(floodTenant, 0),
      path: floodPath,
      connections: floodConnections,
      seconds: seconds + 3,
    };
    const outcome = once(child, 'message') as Promise<[FloodOutcome]>;
    child.send(job);
    await new Promise((resolve) => setTimeout(resolve, 2000)); // until it is at its height
    const measured = await fn();
    const [flood] = await outcome;
    return { ...measured, flood };
  } finally {
    child.kill();
  }
}

async function watched(server: ServerProcess, fn: () => Promise<QuietOutcome>): Promise<Measured> {
  const [startMs, cpuMs, before] = [performance.now(), await server.cpuMs(), busyOf(os.cpus())];
  const outcome = await fn();
  const [tookMs, cpuAfterMs, after] = [performance.now() - startMs, await server.cpuMs(), busyOf(os.cpus())];
  return {
    ...outcome,
    flood: undefined,
    serverCpu: cpuMs === undefined || cpuAfterMs === undefined ? undefined : (cpuAfterMs - cpuMs) / tookMs,
    machineCpu: (after.busy - before.busy) / (after.all - before.all),
  };
}

function busyOf(cpus: readonly os.CpuInfo[]): { busy: number; all: number } {
  const times = cpus.map(({ times: { user, nice, sys, idle, irq } }) => ({
    work: user + nice + sys + irq,
    idle,
  }));
  const busy = times.reduce((sum, { work }) => sum + work, 0);
  return { busy, all: busy + times.reduce((sum, { idle }) => sum + idle, 0) };
}

function tell(measured: ReadonlyMap<Case, readonly Measured[]>): string {
  const lines = [...measured].map(([one, runs]) => {
    const latencies = runs.flatMap(({ latenciesMs }) => latenciesMs).toSorted((a, b) => a - b);
    const failed = runs.flatMap((run) => Object.values(run.failed)).reduce((sum, n) => sum + n, 0);
    const p99s = runs.map((run) =>
      percentile(
        run.latenciesMs.toSorted((a, b) => a - b),
        99,
      ).toFixed(1),
    );
    const flood = runs.flatMap((run) => run.flood ?? []);
    const statuses = flood.map((each) => JSON.stringify(each.statuses)).join(' ');
    const mean = (pick: (run: Measured) => number | undefined) =>
      `${((100 * runs.reduce((sum, run) => sum + (pick(run) ?? 0), 0)) / runs.length).toFixed(0)} %`;
    return [
      `${one}: p50 ${percentile(latencies, 50).toFixed(1)} ms, p99 ${percentile(latencies, 99).toFixed(1)} ms (rounds ${p99s.join(', ')}), `,
      `max ${percentile(latencies, 100).toFixed(1)} ms; ${latencies.length} requests, ${failed} failed; `,
      `server ${mean((run) => run.serverCpu)} of a core, machine ${mean((run) => run.machineCpu)} busy\n`,
      ...flood.map(
        ({ requestsPerSecond, p50Ms, p99Ms }) =>
          `    flood: ${requestsPerSecond.toFixed(0)} answers/s, p50 ${p50Ms} ms, p99 ${p99Ms} ms\n`,
      ),
      statuses === '' ? '' : `    flood by status: ${statuses}\n`,
    ].join('');
  });
  return lines.join('');
}
