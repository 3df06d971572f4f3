import { compile } from './compiled.ts';
import { contenders, poolMax, yardstick } from './contender.ts';
import { startLoadProcess } from './load-process.ts';
import { describeCommit, describeMachine } from './machine.ts';
import { summarise } from './measurement.ts';
import { isWhole, type RunOptions, runOptions, usage } from './options.ts';
import { findPgbench } from './pgbench.ts';
import { productsPerTenant, tenantCount } from './population.ts';
import { type Result, writeResult } from './result.ts';
import { measureRounds, type Running } from './rounds.ts';
import { drawTable } from './table.ts';
import { verify } from './verification.ts';
import { withWorld } from './world.ts';

/** The front-door benchmark: Tenantry beside its opponents, on the same machine, in the same run. See README.md. */
const progress = (message: string) => void process.stderr.write(`${message}\n`);

try {
  const options = runOptions(process.argv.slice(2));
  const result = await bench(options);
  process.stdout.write(`${drawTable(result.summaries)}\n`);
  for (const line of result.leftOut) process.stdout.write(`Left out: ${line}\n`);
  if (isWhole(options)) {
    const { json, svg } = await writeResult(result);
    process.stdout.write(`${json}\n${svg}\n`);
  } else process.stdout.write('Not kept: not all contenders and workloads were measured.\n');
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  if ((error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS') === true) process.stderr.write(usage);
  process.exitCode = 1;
}

async function bench({ rounds, seconds, connections, only, workloads }: RunOptions): Promise<Result> {
  const date = new Date().toISOString();
  const machine = describeMachine();
  const commit = await describeCommit();
  const wantsPgbench = only.includes('pgbench');
  const pgbench = wantsPgbench ? await findPgbench() : undefined;
  const missing = wantsPgbench && pgbench === undefined;
  progress('Compiling');
  const compiled = await compile();
  return withWorld({ compiled, onProgress: progress }, async (world) => {
    const running: Running[] = [];
    const load = startLoadProcess();
    try {
      for (const contender of contenders.filter(({ key }) => only.includes(key))) {
        const server = await contender.start(world, compiled);
        running.push({ contender, server });
        await verify(contender, server.url, world.jwtSecret);
        progress(`${contender.label} answers rightly`);
      }
      const measurements = await measureRounds({
        ...{ rounds, seconds, connections, workloads },
        ...{ running, pgbench, load, world, onProgress: progress },
      });
      return {
        date,
        commit,
        machine: { ...machine, postgres: world.postgresVersion },
        settings: { rounds, seconds, connections, poolMax },
        population: { tenants: tenantCount, productsPerTenant },
        leftOut: missing ? ['pgbench, the floor without HTTP: it is not installed'] : [],
        summaries: summarise(measurements, yardstick),
        measurements,
      };
    } finally {
      await Promise.all([...running.map(({ server }) => server.stop()), load.stop()]);
    }
  });
}
