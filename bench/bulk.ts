import { once } from 'node:events';
import { request } from 'node:http';
import { parseArgs } from 'node:util';
import { from as copyFrom } from 'pg-copy-streams';
import { v7 as uuidv7 } from 'uuid';
import { pagesOf } from './bulk-pages.ts';
import { compile } from './compiled.ts';
import { withClient } from './connection.ts';
import { startTenantry } from './contender.ts';
import { describeCommit, describeMachine } from './machine.ts';
import { positive } from './options.ts';
import { tenantIdOf } from './population.ts';
import type { ServerProcess } from './server-process.ts';
import { createMint, type Mint } from './token.ts';
import { withWorld, type World } from './world.ts';

/**
 * Rows written in bulk through the API beside `COPY`, which is the limit, and beside one INSERT after another; how much memory
 * a stream of a million rows takes; and pages far into a list of a million rows. See README.md.
 */
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    small: { type: 'string', default: '1000' },
    large: { type: 'string', default: '100000' },
    stream: { type: 'string', default: '1000000' },
    listed: { type: 'string', default: '1000000' },
  },
});
const rounds = positive('rounds', values.rounds);
const sizes = [positive('small', values.small), positive('large', values.large)];
const streamed = positive('stream', values.stream);
const listed = positive('listed', values.listed);
const progress = (message: string) => void process.stderr.write(`${message}\n`);
/** The most that one request of JSON may have. */
const rowsPerRequest = 10_000;
/** Of the many that one INSERT after another would take. */
const singles = 5000;
/** Small sizes are written so many times in a round that it lasts long enough to be measured. */
const rowsPerRound = 20_000;

interface Row {
  sku: string;
  name: string;
  description: string;
  priceCents: number;
  currency: string;
  stock: number;
}

/** Everything is made before the clock runs, so that nobody pays for making it. */
interface Load {
  tenant: number;
  rows: Row[];
}

interface Scene {
  world: World;
  server: ServerProcess;
  mint: Mint;
}

type Way = (scene: Scene, load: Load) => Promise<Timed>;

interface Timed {
  rows: number;
  ms: number;
}

const eachAlone = 'one INSERT after another, each committed';
/** Each writes for a tenant of its own. */
const ways: Record<string, Way> = {
  COPY: copy,
  JSON: json,
  NDJSON: ndjson,
  'one INSERT after another': (scene, load) => single(scene, load, false),
  [eachAlone]: (scene, load) => single(scene, load, true),
};
let made = 0;

await bench();

async function bench(): Promise<void> {
  const machine = describeMachine();
  const { id, dirty } = await describeCommit();
  progress('Compiling');
  const compiled = await compile();
  await withWorld({ compiled, onProgress: progress, moreRows: listed }, async (world) => {
    process.stdout.write(`${machine.cpu}, ${machine.cores} cores, load before ${machine.loadBefore}, `);
    process.stdout.write(`Node ${machine.node}, PostgreSQL ${world.postgresVersion}, `);
    process.stdout.write(`${id}${dirty ? ' with changes' : ''}\n`);
    const mint = createMint(world.jwtSecret);
    const within = async (fn: (scene: Scene) => Promise<void>) => {
      const server = await startTenantry(world, compiled);
      try {
        await fn({ world, server, mint });
      } finally {
        await server.stop();
      }
    };
    await within(async (scene) => {
      progress('Pages');
      process.stdout.write(await pagesOf(scene));
      for (const size of sizes) await compare(scene, size);
    });
    await within(async (scene) => stream(scene, streamed));
  });
}

async function compare(scene: Scene, size: number): Promise<void> {
  const names = Object.keys(ways);
  const figures: Record<string, number[]> = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round <= rounds; round += 1) {
    progress(round === 0 ? `${size} rows: warming up` : `${size} rows: round ${round} of ${rounds}`);
    for (const name of [...names.slice(round % names.length), ...names.slice(0, round % names.length)]) {
      const isSingle = name.startsWith('one');
      const times = isSingle ? 1 : Math.ceil(rowsPerRound / size);
      let rows = 0;
      let ms = 0;
      for (let time = 0; time < times; time += 1) {
        const load = {
          tenant: 1 + names.indexOf(name),
          rows: rowsOf(isSingle ? Math.min(size, singles) : size),
        };
        const timed = await ways[name]?.(scene, load);
        rows += timed?.rows ?? 0;
        ms += timed?.ms ?? 0;
      }
      if (round > 0) figures[name]?.push((rows / ms) * 1000);
    }
  }
  const limit = figures['COPY'] ?? [];
  process.stdout.write(
    `\n${size.toLocaleString('en')} rows, rows/s by round, and median of the ratios to COPY\n`,
  );
  for (const [name, perSecond] of Object.entries(figures)) {
    const ratio = median(perSecond.map((figure, round) => figure / (limit[round] ?? Number.NaN)));
    const told = perSecond.map((figure) => Math.round(figure).toLocaleString('en')).join(' · ');
    process.stdout.write(`  ${name.padEnd(42)} ${told}   × ${ratio.toFixed(2)}\n`);
  }
}

async function stream(scene: Scene, count: number): Promise<void> {
  progress(`A stream of ${count} rows`);
  const before = (await scene.server.peakBytes()) ?? 0;
  const startedMs = performance.now();
  await send(scene, 10, 'application/x-ndjson', function* () {
    for (let sent = 0; sent < count; sent += rowsPerRequest) {
      yield lines(rowsOf(Math.min(rowsPerRequest, count - sent)));
    }
  });
  const seconds = (performance.now() - startedMs) / 1000;
  const peak = (await scene.server.peakBytes()) ?? 0;
  const mb = (bytes: number) => Math.round(bytes / 2 ** 20);
  process.stdout.write(
    `\nA stream of ${count.toLocaleString('en')} rows, made while it is sent: ${Math.round(count / seconds).toLocaleString('en')} rows/s; ` +
      `resident at most: ${mb(before)} MB before, ${mb(peak)} MB after\n`,
  );
}

function rowsOf(count: number): Row[] {
  return Array.from({ length: count }, () => {
    made += 1;
    return {
      sku: `bulk-${made}`,
      name: `Product ${made}`,
      description: `A product as good as any other of its kind, no. ${made}`,
      priceCents: 100 + (made % 10_000),
      currency: 'USD',
      stock: made % 1000,
    };
  });
}

/** Past row level security, under which it is refused. Ids are of the kind that ours are. */
async function copy({ world }: Scene, { tenant, rows }: Load): Promise<Timed> {
  const id = tenantIdOf(tenant);
  const text = rows
    .map((row) =>
      [id, uuidv7(), row.sku, row.name, row.description, row.priceCents, row.currency, row.stock].join('\t'),
    )
    .join('\n');
  const bytes = Buffer.from(`${text}\n`);
  return withClient(world.plainUrl, (client) =>
    timed(rows, async () => {
      const into = client.query(
        copyFrom(
          'copy shared.products (tenant_id, id, sku, name, description, price_cents, currency, stock) from stdin',
        ),
      );
      into.end(bytes);
      await once(into, 'finish');
    }),
  );
}

async function json(scene: Scene, { tenant, rows }: Load): Promise<Timed> {
  const bodies: Buffer[] = [];
  for (let from = 0; from < rows.length; from += rowsPerRequest) {
    bodies.push(Buffer.from(JSON.stringify(rows.slice(from, from + rowsPerRequest))));
  }
  return timed(rows, async () => {
    for (const body of bodies) await send(scene, tenant, 'application/json', () => [body]);
  });
}

async function ndjson(scene: Scene, { tenant, rows }: Load): Promise<Timed> {
  const body = lines(rows);
  return timed(rows, () => send(scene, tenant, 'application/x-ndjson', () => [body]));
}

/** As tenantry_app, prepared: in one transaction, which is its best, or in one each with its context, as an ordinary request would. */
async function single({ world }: Scene, { tenant, rows }: Load, alone: boolean): Promise<Timed> {
  const id = tenantIdOf(tenant);
  return withClient(world.app.primaryUrl, (client) => {
    const begin = async () => {
      await client.query('begin');
      await client.query(`select set_config('app.tenant_id', $1, true)`, [id]);
    };
    return timed(rows, async () => {
      if (!alone) await begin();
      for (const { sku, name, description, priceCents, currency, stock } of rows) {
        if (alone) await begin();
        await client.query({
          name: 'insert',
          text: `insert into shared.products (tenant_id, id, sku, name, description, price_cents, currency, stock)
            values ($1, $2, $3, $4, $5, $6, $7, $8)`,
          values: [id, uuidv7(), sku, name, description, priceCents, currency, stock],
        });
        if (alone) await client.query('commit');
      }
      if (!alone) await client.query('commit');
    });
  });
}

function lines(rows: readonly Row[]): Buffer {
  return Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
}

async function timed(rows: readonly Row[], fn: () => Promise<unknown>): Promise<Timed> {
  const startedMs = performance.now();
  await fn();
  return { rows: rows.length, ms: performance.now() - startedMs };
}

/** @throws unless all was created */
async function send(
  { server, mint }: Scene,
  tenant: number,
  type: string,
  pieces: () => Iterable<Buffer>,
): Promise<void> {
  const outgoing = request(`${server.url}/v1/products/bulk`, {
    method: 'POST',
    headers: { authorization: `Bearer ${mint(tenant, 1)}`, 'content-type': type },
  });
  const answered = once(outgoing, 'response');
  for (const piece of pieces()) {
    if (!outgoing.write(piece)) await Promise.race([once(outgoing, 'drain'), answered]);
  }
  outgoing.end();
  const [incoming] = (await answered) as [AsyncIterable<Buffer> & { statusCode: number }];
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk);
  if (incoming.statusCode !== 201) throw new Error(Buffer.concat(chunks).toString().slice(0, 1000));
}

function median(figures: readonly number[]): number {
  const sorted = figures.toSorted((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
