import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { finished, pipeline } from 'node:stream/promises';
import { parseArgs, promisify } from 'node:util';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { withClient } from './connection.ts';
import { type Compiled, compile } from './compiled.ts';
import { describeCommit, describeMachine } from './machine.ts';
import { positive } from './options.ts';
import { withWorld, type World } from './world.ts';

/**
 * Export and import of one large tenant among others, beside `COPY` of the same rows, which is the limit. Each runs in a
 * process of its own, whose memory is sampled. See README.md.
 */
const usage = `Usage: npm run bench:export -- [options]
  --rows <n>     of the tenant (1000000)
  --rounds <n>   of which the median is told (3)
`;
const progress = (message: string) => void process.stderr.write(`${message}\n`);
const run = promisify(execFile);
const tenant = '00000000-0000-7000-8001-0000000fffff';
const columns =
  'id, sku, name, description, price_cents, currency, stock, version, created_at, updated_at, deleted_at, deletion_id';

interface Figure {
  rows: number;
  node: string;
  ms: number;
  /** Processor time of our process alone. */
  cpuMs?: number;
  idleBytes?: number;
  peakBytes?: number;
}

try {
  const { values } = parseArgs({
    options: {
      rows: { type: 'string', default: '1000000' },
      rounds: { type: 'string', default: '3' },
    },
  });
  await bench(positive('rows', values.rows), positive('rounds', values.rounds));
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  if ((error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS') === true) process.stderr.write(usage);
  process.exitCode = 1;
}

async function bench(rows: number, rounds: number): Promise<void> {
  const machine = describeMachine();
  const commit = await describeCommit();
  progress('Compiling');
  const compiled = await compile();
  await withWorld({ compiled, onProgress: progress }, async (world) => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'tenantry-bench-export-'));
    try {
      progress(`Making a tenant of ${rows} rows`);
      await makeTenant(world, rows);
      const figures: Record<string, Figure[]> = {};
      for (let round = 0; round < rounds; round += 1) {
        const file = path.join(folder, `${round}.ndjson`);
        const steps: Record<string, () => Promise<Figure>> = {
          'COPY TO (limit)': () => copyOut(world),
          export: () => transfer(compiled, world, ['export', 'large', file]),
          'COPY FROM (limit, no RLS)': () => copyIn(world),
          import: () => transfer(compiled, world, ['import', `copy-${round}`, file]),
        };
        for (const [name, step] of Object.entries(steps)) {
          progress(`Round ${round + 1}: ${name}`);
          const figure = await step();
          if (figure.rows !== rows) throw new Error(`${name}: ${figure.rows} rows instead of ${rows}`);
          (figures[name] ??= []).push(figure);
        }
        await rm(file);
      }
      process.stdout.write(`${JSON.stringify({ commit, machine, postgres: world.postgresVersion })}\n`);
      for (const [name, all] of Object.entries(figures)) process.stdout.write(`${told(name, all)}\n`);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
}

/** Its rows lie among those of the other tenants, in the schema `shared`. */
async function makeTenant({ plainUrl, ownerUrl }: World, rows: number): Promise<void> {
  await withClient(ownerUrl, (client) =>
    client.query(
      `insert into control.tenants (id, slug, name, isolation, schema_name, status)
       values ($1, 'large', 'Large', 'shared', 'shared', 'active')`,
      [tenant],
    ),
  );
  await withClient(plainUrl, (client) =>
    client.query(
      `insert into shared.products (tenant_id, id, sku, name, description, price_cents, currency, stock)
       select $1, gen_random_uuid(), 'sku-' || p, 'Product ' || p,
         'A product as good as any other of its kind, no. ' || p, 100 + p, 'USD', p % 1000
       from generate_series(1, $2::int) p`,
      [tenant, rows],
    ),
  );
  await withClient(ownerUrl, (client) => client.query('vacuum analyze shared.products'));
}

/** What the export does, without making JSON, sums or a file of it: as tenantry_app, on the replica. */
async function copyOut({ app }: World): Promise<Figure> {
  return withClient(app.replicaUrls[0] ?? '', async (client) => {
    const startedMs = performance.now();
    await client.query('begin');
    await client.query(`set local app.tenant_id = '${tenant}'`);
    const stream = client.query(
      copyTo(`copy (select ${columns} from shared.products where tenant_id = '${tenant}') to stdout`),
    );
    await finished(stream.resume());
    await client.query('commit');
    return { rows: stream.rowCount, node: 'replica', ms: performance.now() - startedMs };
  });
}

/** The same rows for another tenant, from one connection to the other, past row level security. */
async function copyIn({ plainUrl }: World): Promise<Figure> {
  return withClient(plainUrl, (source) =>
    withClient(plainUrl, async (target) => {
      const id = randomUUID();
      const startedMs = performance.now();
      const into = target.query(copyFrom(`copy shared.products (tenant_id, ${columns}) from stdin`));
      await pipeline(
        source.query(
          copyTo(
            `copy (select '${id}'::uuid, ${columns} from shared.products where tenant_id = '${tenant}') to stdout`,
          ),
        ),
        into,
      );
      return { rows: into.rowCount, node: 'primary', ms: performance.now() - startedMs };
    }),
  );
}

async function transfer(compiled: Compiled, world: World, args: readonly string[]): Promise<Figure> {
  const { stdout } = await run(process.execPath, [compiled.program('bench/transfer-process.ts'), ...args], {
    env: {
      NODE_ENV: 'production',
      LOG_LEVEL: 'silent',
      DATABASE_URL: world.app.primaryUrl,
      DATABASE_REPLICA_URLS: world.app.replicaUrls.join(','),
      DATABASE_ADMIN_URL: world.ownerUrl,
      JWT_SECRET: world.jwtSecret,
    },
  });
  return JSON.parse(stdout) as Figure;
}

function told(name: string, figures: readonly Figure[]): string {
  const perSecond = figures.map(({ rows, ms }) => (rows / ms) * 1000);
  const sorted = perSecond.toSorted((one, other) => one - other);
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const peak = Math.max(...figures.map(({ peakBytes = 0 }) => peakBytes));
  const idle = Math.max(...figures.map(({ idleBytes = 0 }) => idleBytes));
  const cpuUs = figures.map(({ rows, cpuMs = 0 }) => (cpuMs * 1000) / rows);
  const memory =
    peak === 0
      ? ''
      : `, CPU ${Math.min(...cpuUs).toFixed(1)} µs a row, memory ${mb(idle)} at start, ${mb(peak)} at most`;
  const whole = (figure: number) => Math.round(figure).toLocaleString('en');
  return `${name.padEnd(28)} ${whole(median).padStart(8)} rows/s (${sorted.map(whole).join(', ')})${memory}`;
}

function mb(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MB`;
}
