import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { type Compiled, compile } from './compiled.ts';
import { startTenantry } from './contender.ts';
import { fleetContenders } from './fleet-contenders.ts';
import {
  ask,
  loadCases,
  type LoadOptions,
  type LoadOutcome,
  measureLoad,
  p99Of,
  tellLoad,
} from './fleet-load.ts';
import { makeFleet, schemaOf } from './fleet-population.ts';
import { createSteps, type FleetSteps } from './fleet-steps.ts';
import { measureThroughput, tellThroughput } from './fleet-throughput.ts';
import { describeCommit, describeMachine } from './machine.ts';
import { median } from './measurement.ts';
import { list, positive } from './options.ts';
import { createRequests } from './request.ts';
import { freePort, type ServerProcess } from './server-process.ts';
import { createMint } from './token.ts';
import { withWorld, type World } from './world.ts';

/**
 * The fleet is migrated: how long it takes, beside what people write instead, and what tenants notice of it. See
 * README.md.
 */
const parts = ['throughput', 'load'] as const;
const usage = `Usage: npm run bench:fleet -- [options]
  --tenants <n>      with schemas of their own (1000)
  --rounds <n>       of which the median is told (3)
  --parallel <n>     schemas at the same time (4)
  --parts <list>     of ${parts.join(',')} (all)
  --loaded <n>       tenants that are migrated under load (300, at most all)
  --asked <n>        of these, the tenants that are asked (50, at most all)
  --reported <n>     of these, the tenants whose tables a report reads (5)
  --rate <n>         requests a second (200)
  --seconds <n>      for each case under load (30)
`;
const progress = (message: string) => void process.stderr.write(`${message}\n`);
const warmUpSeconds = 5;

interface Options {
  tenants: number;
  rounds: number;
  parallel: number;
  parts: readonly (typeof parts)[number][];
  loaded: number;
  asked: number;
  reported: number;
  rate: number;
  seconds: number;
}

try {
  await bench(options());
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  if ((error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS') === true) process.stderr.write(usage);
  process.exitCode = 1;
}

function options(): Options {
  const { values } = parseArgs({
    options: {
      tenants: { type: 'string', default: '1000' },
      rounds: { type: 'string', default: '3' },
      parallel: { type: 'string', default: '4' },
      parts: { type: 'string', default: parts.join(',') },
      loaded: { type: 'string', default: '300' },
      asked: { type: 'string', default: '50' },
      reported: { type: 'string', default: '5' },
      rate: { type: 'string', default: '200' },
      seconds: { type: 'string', default: '30' },
    },
  });
  const tenants = positive('tenants', values.tenants);
  const loaded = Math.min(positive('loaded', values.loaded), tenants);
  const asked = Math.min(positive('asked', values.asked), loaded);
  const reported = positive('reported', values.reported);
  if (reported >= asked) throw new Error('--reported: fewer are needed than are asked');
  return {
    ...{ tenants, loaded, asked, reported },
    rounds: positive('rounds', values.rounds),
    parallel: positive('parallel', values.parallel),
    parts: list('parts', values.parts, parts),
    rate: positive('rate', values.rate),
    seconds: positive('seconds', values.seconds),
  };
}

async function bench(wanted: Options): Promise<void> {
  const { tenants, asked, parallel } = wanted;
  const machine = describeMachine();
  const { id, dirty } = await describeCommit();
  progress('Compiling');
  const compiled = await compile();
  await withWorld({ compiled, onProgress: progress }, async (world) => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'tenantry-bench-fleet-'));
    try {
      progress(`Making ${tenants} tenants`);
      const startedMs = performance.now();
      await makeFleet(world, compiled, { tenants, filled: asked, parallel });
      progress(`  in ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
      process.stdout.write(`${machine.cpu}, ${machine.cores} cores, load before ${machine.loadBefore}, `);
      process.stdout.write(`Node ${machine.node}, PostgreSQL ${world.postgresVersion}, `);
      process.stdout.write(`${id}${dirty ? ' with changes' : ''}\n`);
      const steps = await createSteps(compiled);
      if (wanted.parts.includes('throughput')) await throughput(world, steps, folder, wanted);
      if (wanted.parts.includes('load')) await load(world, compiled, steps, wanted);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
}

async function throughput(
  world: World,
  steps: FleetSteps,
  folder: string,
  { tenants, rounds, parallel }: Options,
): Promise<void> {
  const schemas = ['shared', ...Array.from({ length: tenants }, (_, member) => schemaOf(member))];
  const given = { world, steps, parallel, schemas };
  const contenders = await fleetContenders({ ...given, folder });
  const measured = await measureThroughput({ ...given, contenders, rounds, onProgress: progress });
  process.stdout.write(`\n${schemas.length} schemas, ${parallel} at the same time, A one after another\n`);
  process.stdout.write(tellThroughput(measured, schemas.length));
}

async function load(
  world: World,
  compiled: Compiled,
  steps: FleetSteps,
  { rounds, rate, ...given }: Options,
): Promise<void> {
  const servers: ServerProcess[] = [];
  try {
    const adminPort = await freePort();
    const replicated = await startTenantry(world, compiled, [], {
      ...{ DATABASE_ADMIN_URL: world.ownerUrl, ADMIN_PORT: String(adminPort) },
    });
    servers.push(replicated);
    const alone = await startTenantry(world, compiled, [], { DATABASE_REPLICA_URLS: '' });
    servers.push(alone);
    const settings: LoadOptions = {
      ...{ world, steps, servers: { replicated, alone }, ...given },
      metricsUrl: `http://127.0.0.1:${adminPort}/metrics`,
      requests: createRequests('token', createMint(world.jwtSecret)),
      perSecond: rate,
    };
    progress('Warming up');
    for (const server of servers) await ask(settings, server, warmUpSeconds);
    process.stdout.write(
      `\n${given.asked} of ${given.loaded} tenants are asked ${rate} times a second, ${given.seconds} s each\n`,
    );
    const slower: number[] = [];
    for (let round = 1; round <= rounds; round += 1) {
      const outcomes: LoadOutcome[] = [];
      for (const one of loadCases) {
        progress(`Round ${round}: ${one.label}`);
        const outcome = await measureLoad(settings, one);
        process.stdout.write(tellLoad(one, outcome));
        outcomes.push(outcome);
      }
      const [quiet, migrating] = outcomes;
      if (quiet !== undefined && migrating !== undefined) slower.push(p99Of(migrating) / p99Of(quiet));
    }
    process.stdout.write(
      `Migrating, p99 is ${(median(slower) ?? 0).toFixed(2)} times what it is without ` +
        `(${slower.map((one) => one.toFixed(2)).join(', ')}; wanted: 2 or less, and no request that fails)\n`,
    );
  } finally {
    for (const server of servers) await server.stop();
  }
}
