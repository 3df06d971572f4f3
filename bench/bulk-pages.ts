import { withClient } from './connection.ts';
import { percentile } from './percentile.ts';
import { tenantIdOf } from './population.ts';
import type { ServerProcess } from './server-process.ts';
import type { Mint } from './token.ts';
import type { World } from './world.ts';

/** The first page of a long list and one far into it, through the API beside OFFSET. Of the first tenant. */
interface Scene {
  world: World;
  server: ServerProcess;
  mint: Mint;
}

const limit = 20;
const farPage = 5000;
const times = 20;
const sorts: Record<string, string> = {
  '-createdAt': 'created_at desc, id desc',
  name: 'name, id',
  priceCents: 'price_cents, id',
  sku: 'sku, id',
};

/** @returns a table */
export async function pagesOf(scene: Scene): Promise<string> {
  let text = `\nPages of ${limit}: ms (median of ${times})\n  ${'sort'.padEnd(12)}  page 1, page ${farPage}: ratio; with OFFSET: ratio\n`;
  for (const sort of Object.keys(sorts)) {
    const cursor = await cursorBefore(scene, sort);
    const first = await median(() => page(scene, sort));
    const far = await median(() => page(scene, sort, cursor));
    const [offsetFirst, offsetFar] = await byOffset(scene, sort);
    const told = (one: number, other: number) =>
      `${one.toFixed(2)}, ${other.toFixed(2)}: × ${(other / one).toFixed(2)}`;
    text += `  ${sort.padEnd(12)}  ${told(first, far)};  ${told(offsetFirst, offsetFar)}\n`;
  }
  return text;
}

/** Goes to the page before in steps of the longest pages; cursors are good for any length. */
async function cursorBefore(scene: Scene, sort: string): Promise<string> {
  let left = limit * (farPage - 1);
  let cursor: string | undefined;
  while (left > 0) {
    const step = Math.min(100, left);
    const { next } = await page(scene, sort, cursor, step);
    if (next === null) throw new Error(`There are fewer than ${farPage} pages`);
    cursor = next;
    left -= step;
  }
  return cursor ?? '';
}

async function page(
  { server, mint }: Scene,
  sort: string,
  cursor?: string,
  rows = limit,
): Promise<{ next: string | null }> {
  const query = new URLSearchParams({
    sort,
    limit: String(rows),
    ...(cursor === undefined ? {} : { cursor }),
  });
  const answer = await fetch(`${server.url}/v1/products?${query.toString()}`, {
    headers: { authorization: `Bearer ${mint(0, 0)}` },
  });
  const { data, page: at } = (await answer.json()) as { data: unknown[]; page: { next: string | null } };
  if (answer.status !== 200 || data.length !== rows) throw new Error(`A page of ${data.length} rows`);
  return at;
}

/** As tenantry_app, on the replica that the API reads from, prepared. */
async function byOffset({ world }: Scene, sort: string): Promise<[number, number]> {
  return withClient(world.app.replicaUrls[0] ?? '', async (client) => {
    await client.query(`select set_config('app.tenant_id', $1, false)`, [tenantIdOf(0)]);
    const ask = (offset: number) => () =>
      client.query({
        name: sort,
        text: `select * from shared.products where tenant_id = $1 and deleted_at is null
          order by ${sorts[sort]} limit ${limit} offset $2`,
        values: [tenantIdOf(0), offset],
      });
    return [await median(ask(0)), await median(ask(limit * (farPage - 1)))];
  });
}

async function median(fn: () => Promise<unknown>): Promise<number> {
  const took: number[] = [];
  for (let n = 0; n < times + 3; n += 1) {
    const startedMs = performance.now();
    await fn();
    if (n >= 3) took.push(performance.now() - startedMs); // the first are for those who compile
  }
  return percentile(
    took.toSorted((one, other) => one - other),
    50,
  );
}
