import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs, promisify } from 'node:util';
import { type Compiled, compile } from './compiled.ts';
import { startTenantry } from './contender.ts';
import { askQuietly, type QuietOutcome } from './fairness-quiet.ts';
import { describeCommit, describeMachine } from './machine.ts';
import { positive } from './options.ts';
import { productsPerTenant } from './population.ts';
import { createRequests, type Requests } from './request.ts';
import type { ServerProcess } from './server-process.ts';
import { createMint } from './token.ts';
import { below } from './workload.ts';
import { withWorld, type World } from './world.ts';

/**
 * A tenant that works is moved to a schema of its own and back: for how long it cannot write, and what another tenant
 * notices. See README.md.
 */
const { values } = parseArgs({
  options: { rows: { type: 'string', default: '100000' }, rounds: { type: 'string', default: '2' } },
});
const rows = positive('rows', values.rows);
const rounds = positive('rounds', values.rounds);
const run = promisify(execFile);
const progress = (message: string) => void process.stderr.write(`${message}\n`);
const [moving, other] = [0, 1];
const others = { connections: 8, perSecond: 50 };
/** A write, and a read, so many times a second. */
const moversPerSecond = 25;
const aloneSeconds = 10;

interface Outcome {
  seconds: number;
  fenceMs: number;
  /** From the last write that was taken to the next one, as the client sees it. */
  gapMs: number;
  writes: { taken: number; refused: number; failed: number };
  reads: { answered: number; failed: number };
  other: QuietOutcome;
}

await bench();

async function bench(): Promise<void> {
  const machine = describeMachine();
  const { id, dirty } = await describeCommit();
  progress('Compiling');
  const compiled = await compile();
  const moreRows = rows - productsPerTenant;
  await withWorld({ compiled, onProgress: progress, moreRows }, async (world) => {
    const server = await startTenantry(world, compiled);
    try {
      const requests = createRequests('token', createMint(world.jwtSecret));
      await quietly(server, requests, 'warm', 2);
      process.stdout.write(`${machine.cpu}, ${machine.cores} cores, load before ${machine.loadBefore}, `);
      process.stdout.write(`Node ${machine.node}, PostgreSQL ${world.postgresVersion}, `);
      process.stdout.write(`${id}${dirty ? ' with changes' : ''}\n`);
      for (let round = 1; round <= rounds; round += 1) {
        progress(`Round ${round}: no move`);
        tell('no move', await quietly(server, requests, `alone-${round}`, aloneSeconds));
        for (const isolation of ['schema', 'shared'] as const) {
          progress(`Round ${round}: to ${isolation}`);
          tellMove(isolation, await measure(world, compiled, server, requests, isolation));
        }
      }
    } finally {
      await server.stop();
    }
  });
}

async function measure(
  world: World,
  compiled: Compiled,
  server: ServerProcess,
  requests: Requests,
  isolation: string,
): Promise<Outcome> {
  const over = new AbortController();
  const label = `${isolation}-${performance.now()}`;
  const outcome = { writes: { taken: 0, refused: 0, failed: 0 }, reads: { answered: 0, failed: 0 } };
  let gapMs = 0;
  let takenMs = performance.now();

  async function write(): Promise<void> {
    for (let n = 0; !over.signal.aborted; n += 1) {
      const { path, headers, body = '' } = requests.insert(moving, 1, `${label}-${n}`);
      const answer = await fetch(server.url + path, { method: 'POST', headers, body });
      const { code } = (await answer.json()) as { code?: string };
      if (answer.status === 201) {
        outcome.writes.taken += 1;
        gapMs = Math.max(gapMs, performance.now() - takenMs);
        takenMs = performance.now();
      } else if (code === 'tenant_moving') outcome.writes.refused += 1;
      else outcome.writes.failed += 1;
      await sleep(1000 / moversPerSecond);
    }
  }

  async function read(): Promise<void> {
    while (!over.signal.aborted) {
      const { path, headers } = requests.page(moving, 0);
      const answer = await fetch(server.url + path, { headers });
      const { data = [] } = (await answer.json()) as { data?: object[] };
      outcome.reads[answer.status === 200 && data.length > 0 ? 'answered' : 'failed'] += 1;
      await sleep(1000 / moversPerSecond);
    }
  }

  const working = [write(), read()];
  const quiet: QuietOutcome = { latenciesMs: [], failed: {} };
  const asking = (async () => {
    for (let n = 0; !over.signal.aborted; n += 1) {
      const { latenciesMs, failed } = await quietly(server, requests, `${label}-${n}`, 1);
      quiet.latenciesMs.push(...latenciesMs);
      for (const [status, times] of Object.entries(failed)) {
        quiet.failed[status] = (quiet.failed[status] ?? 0) + times;
      }
    }
  })();
  const startedMs = performance.now();
  const { stdout } = await run(
    process.execPath,
    [
      compiled.program('src/cli/main.ts'),
      ...['tenant', 'move', 'bench-0', '--isolation', isolation, '--wait', '--json'],
    ],
    { env: { DATABASE_ADMIN_URL: world.ownerUrl, LOG_LEVEL: 'silent' } },
  );
  const seconds = (performance.now() - startedMs) / 1000;
  const { result } = JSON.parse(stdout) as { result: { fenceMs: number } };
  await sleep(3000); // what comes after the flip is part of it
  over.abort();
  await Promise.all([...working, asking]);
  return { seconds, fenceMs: result.fenceMs, gapMs, ...outcome, other: quiet };
}

/** By id, pages, and every tenth an insert. */
function quietly(
  server: ServerProcess,
  requests: Requests,
  label: string,
  seconds: number,
): Promise<QuietOutcome> {
  let n = 0;
  return askQuietly({
    ...{ url: server.url, seconds, ...others },
    requests() {
      n += 1;
      if (n % 10 === 0) return requests.insert(other, 1, `${label}-${n}`);
      if (n % 2 === 0) return requests.page(other, 0);
      return requests.product(other, 0, below(productsPerTenant));
    },
  });
}

function tellMove(
  isolation: string,
  { seconds, fenceMs, gapMs, writes, reads, other: quiet }: Outcome,
): void {
  process.stdout.write(
    `to ${isolation}: ${seconds.toFixed(1)} s in all, fence ${fenceMs} ms, ${Math.round(gapMs)} ms between two writes; ` +
      `writes ${JSON.stringify(writes)}, reads ${JSON.stringify(reads)}\n`,
  );
  tell('  another tenant', quiet);
}

function tell(name: string, { latenciesMs, failed }: QuietOutcome): void {
  const sorted = latenciesMs.toSorted((one, two) => one - two);
  const at = (share: number) => (sorted[Math.floor(sorted.length * share)] ?? 0).toFixed(1);
  process.stdout.write(
    `${name}: ${sorted.length} requests, failed ${JSON.stringify(failed)}, ` +
      `p50 ${at(0.5)}, p99 ${at(0.99)}, worst ${(sorted.at(-1) ?? 0).toFixed(1)} ms\n`,
  );
}
