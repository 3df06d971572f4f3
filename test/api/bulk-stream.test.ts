import { gzipSync } from 'node:zlib';
import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { intakeLimits } from '../../src/http/intake.ts';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';
import { useUploads } from '../support/upload.ts';

const database = useDatabase();
const service = useTenantry(database, { env: { DATABASE_REPLICA_URLS: '' } });
const uploads = useUploads(() => service.tenantry.tenantApp);
const deadlineMs = 300;
const hurried = useTenantry(database, {
  env: { DATABASE_REPLICA_URLS: '', REQUEST_DEADLINE_MS: String(deadlineMs) },
});
const hurriedUploads = useUploads(() => hurried.tenantry.tenantApp);
const usual = { ...intakeLimits };
afterEach(() => void Object.assign(intakeLimits, usual));

const line = (sku: string, more: object = {}) =>
  `${JSON.stringify({ sku, name: 'Saw', priceCents: 1990, stock: 3, ...more })}\n`;
const lines = (prefix: string, count: number) =>
  Array.from({ length: count }, (_, n) => line(`${prefix}-${n}`)).join('');

interface Summary {
  created: number;
  rejectedCount: number;
  rejected: { line: number; code: string; errors: { pointer: string; code: string }[] }[];
}

let tenant: TestTenant;
let neighbour: TestTenant;
beforeAll(async () => {
  tenant = await service.onboard('streams', 'shared');
  neighbour = await service.onboard('streams_schema', 'schema');
});

const start = (query = '', headers = {}, of = tenant) =>
  uploads.start(of.token, `/v1/products/bulk${query}`, headers);
const post = (text: string | Buffer, query = '', headers = {}, of = tenant) =>
  start(query, headers, of).end(text);

async function stored(prefix: string): Promise<number> {
  const [row] = await database.superuser<{ n: number }>(
    `select ((select count(*) from shared.products where starts_with(sku, $1))
       + (select count(*) from tenant_streams_schema.products where starts_with(sku, $1)))::int as n`,
    [prefix],
  );
  return row?.n ?? 0;
}

/** Transactions of the service that wait for it to go on. */
async function open(): Promise<number> {
  const [row] = await database.superuser<{ n: number }>(
    `select count(*)::int as n from pg_stat_activity
     where datname = current_database() and usename = 'tenantry_app' and state = 'idle in transaction'`,
  );
  return row?.n ?? 0;
}

describe('a stream of rows, all or nothing', () => {
  it.each(['shared', 'schema'])('is written whole, for a tenant with isolation %s', async (isolation) => {
    const of = isolation === 'shared' ? tenant : neighbour;
    const { status, body, headers } = await post(lines(`whole-${isolation}`, 25_000), '', {}, of);
    expect([status, body]).toEqual([201, { created: 25_000, rejectedCount: 0, rejected: [] }]);
    expect(headers['consistency-token']).toBeDefined();
    expect(await stored(`whole-${isolation}`)).toBe(25_000);
    const { body: list } = await of.client.get('/v1/products?count=exact').expect(200);
    expect(list).toMatchObject({ page: { total: 25_000 } });
  });

  it('may have lines that are blank, end as on Windows, or do not end', async () => {
    const text = `\n${line('blank-1')}\r\n   \n${line('blank-2').replace('\n', '\r\n')}${line('blank-3').trimEnd()}`;
    expect(await post(text)).toMatchObject({ status: 201, body: { created: 3 } });
    const fault = await post(`\n${line('blank-4')}\r\n{}`);
    expectProblem(fault, 400, 'invalid_input', ['/4/sku', '/4/name', '/4/priceCents', '/4/stock']);
  });

  it('may come in any pieces', async () => {
    const text = Buffer.from(line('piece-ä') + line('piece-🪚') + line('piece-3'));
    const upload = start();
    for (let at = 0; at < text.length; at += 7) await upload.send(text.subarray(at, at + 7));
    expect(await upload.end()).toMatchObject({ status: 201, body: { created: 3 } });
    const { body } = await tenant.client.get('/v1/products?filter[sku]=piece-🪚').expect(200);
    expect((body as { data: unknown[] }).data).toHaveLength(1);
  });

  it('may be packed', async () => {
    const packed = gzipSync(lines('packed', 11_000));
    const { status, body } = await post(packed, '', { 'Content-Encoding': 'gzip' });
    expect([status, body]).toMatchObject([201, { created: 11_000 }]);
    const cut = await post(gzipSync(lines('cut', 100)).subarray(0, -20), '', { 'Content-Encoding': 'gzip' });
    expectProblem(cut, 400, 'invalid_input', ['Content-Encoding']);
  });

  it('leaves nothing when a late line is at fault', async () => {
    const text = lines('late', 12_000) + line('late-x', { stock: -1 }) + lines('later', 10);
    expectProblem(await post(text), 400, 'invalid_input', ['/12001/stock']);
    expect(await stored('late')).toBe(0);
  });

  it('leaves nothing when a late line meets a row, and names the line', async () => {
    await tenant.client
      .post('/v1/products')
      .send(JSON.parse(line('met')))
      .expect(201);
    expectProblem(await post(lines('meets', 12_000) + line('met')), 409, 'sku_taken', ['/12001/sku']);
    const twins = lines('twin', 10_500) + line('twin-3');
    expectProblem(await post(twins), 409, 'sku_taken', ['/10501/sku']);
    expect((await stored('meets')) + (await stored('twin'))).toBe(0);
  });

  it.each([
    ['is no JSON', '{"sku":', 'malformed_json', '/2'],
    ['is not UTF-8', Buffer.from([0x22, 0xff, 0x22]), 'malformed_json', '/2'],
    ['is too long', JSON.stringify({ sku: 'x'.repeat(1_100_000) }), 'malformed_json', '/2'],
    ['is an array', '[]', 'invalid_input', '/2'],
    ['has a NUL', line('nul \0'), 'invalid_input', '/2/sku'],
    ['has half of a pair', line('half \ud800'), 'invalid_input', '/2/sku'],
    ['is two values', '{},{}', 'malformed_json', '/2'],
  ])('names a line that %s', async (_what, text, code, pointer) => {
    const body = Buffer.concat(
      [line('named-1'), text, '\n', line('named-3')].map((part) => Buffer.from(part)),
    );
    expectProblem(await post(body), 400, code, [pointer]);
    const skipped = (await post(body, '?onError=skip')).body as Summary;
    expect([skipped.created, skipped.rejected.map((each) => [each.line, each.code])]).toEqual([
      2,
      [[2, code]],
    ]);
    await tenant.client.delete('/v1/products/bulk?filter[sku][prefix]=named-').expect(200);
  });

  it('refuses a byte order mark, and nothing at all', async () => {
    expectProblem(await post(`\ufeff${line('bom')}`), 400, 'malformed_json', ['/1']);
    for (const text of ['', '\n', ' \r\n\n']) expectProblem(await post(text), 400, 'invalid_input', ['']);
    expectProblem(await post('\n', '?onError=skip'), 400, 'invalid_input', ['']);
  });

  it('leaves nothing when its client goes away', async () => {
    const upload = start();
    await upload.send(lines('gone', 10_001));
    await until(async () => (await open()) === 1, 'the first rows to be written');
    upload.breakOff();
    await until(async () => (await open()) === 0, 'the unit to be undone');
    expect(await stored('gone')).toBe(0);
  });

  it('is ended when too little comes for too long', async () => {
    const upload = start();
    await upload.send(lines('slow', 10_001));
    await until(async () => (await open()) === 1, 'the first rows to be written');
    intakeLimits.windowMs = 50;
    // The window is looked at when the wait for the next bytes begins.
    await upload.send(line('slow-last'));
    expectProblem(await upload.answer, 408, 'request_timeout');
    expect([await stored('slow'), await open()]).toEqual([0, 0]);
  });

  it('is written as far as it has come when no more comes for a while, within its unit', async () => {
    const upload = start();
    await upload.send(lines('few', 5));
    await until(async () => (await open()) === 1, 'the few to be written');
    expect(await stored('few')).toBe(0);
    expect(await upload.end(lines('more', 5))).toMatchObject({ status: 201, body: { created: 10 } });
  });

  it('is not bound by the deadline of requests', async () => {
    const startedMs = performance.now();
    const upload = hurriedUploads.start(tenant.token, '/v1/products/bulk');
    await upload.send(lines('hurried', 5));
    await until(() => performance.now() - startedMs > deadlineMs + 50, 'the deadline to be over');
    // What is cancelled is what takes long.
    expect(await upload.end(lines('hurried-more', 20_000))).toMatchObject({ status: 201 });
  });

  it('is not run again, and leaves nothing, when its connection is lost', async () => {
    const upload = start();
    await upload.send(lines('lost', 10_001));
    await until(async () => (await open()) === 1, 'the first rows to be written');
    await database.superuser(
      `select pg_terminate_backend(pid, 5000) from pg_stat_activity
       where datname = current_database() and usename = 'tenantry_app' and state = 'idle in transaction'`,
    );
    expectProblem(await upload.end(lines('lost-more', 10_001)), 503, 'unavailable');
    expect(await stored('lost')).toBe(0);
    await until(
      async () => (await tenant.client.get('/v1/products?limit=1')).status === 200,
      'the service to be well',
    );
  });

  it('is one at a time for a tenant, and keeps nobody from writing besides', async () => {
    const upload = start();
    await upload.send(lines('one', 10_001));
    await until(async () => (await open()) === 1, 'the first rows to be written');
    const second = await post(lines('second', 10));
    expectProblem(second, 503, 'unavailable');
    expect(second.headers['retry-after']).toBe('1');
    expect(await post(lines('beside', 10), '?onError=skip')).toMatchObject({ status: 201 });
    expect(await post(lines('beside', 10), '', {}, neighbour)).toMatchObject({ status: 201 });
    expect(await upload.end()).toMatchObject({ status: 201 });
    expect(await post(lines('second', 10))).toMatchObject({ status: 201 });
  });

  it('cannot be repeated with a key, which it says', async () => {
    const answer = await post(lines('key', 1), '', { 'Idempotency-Key': 'a-key' });
    expectProblem(answer, 400, 'invalid_input', ['Idempotency-Key']);
  });

  it('keeps to the limit of rows, and counts those it has written before', async () => {
    const limited = await service.onboard('streams_limited', 'shared', { rows: 15_000 });
    expectProblem(await post(lines('limit', 16_000), '', {}, limited), 409, 'limit_reached');
    expect(await stored('limit')).toBe(0);
  });
});

describe('a stream of rows, of which those are skipped that are at fault', () => {
  const skip = '?onError=skip';

  it('is written but for them, and told of them by line', async () => {
    const text = `${lines('skip', 10_500)}{"sku":1}\n${line('skip-3')}nothing\n${line('skip-last')}`;
    const { status, body } = await post(text, skip);
    const { created, rejectedCount, rejected } = body as Summary;
    expect([status, created, rejectedCount]).toEqual([201, 10_501, 3]);
    expect(rejected.map((each) => [each.line, each.code, each.errors[0]?.pointer])).toEqual([
      [10_501, 'invalid_input', '/10501/sku'],
      [10_502, 'sku_taken', '/10502/sku'],
      [10_503, 'malformed_json', '/10503'],
    ]);
    expect(await stored('skip')).toBe(10_501);
  });

  it('is told of a thousand of them, and how many there were', async () => {
    const { status, body } = await post('{}\n'.repeat(11_111), skip);
    const { created, rejectedCount, rejected } = body as Summary;
    expect([status, created, rejectedCount, rejected.length]).toEqual([200, 0, 11_111, 1000]);
    expect(rejected.at(-1)?.line).toBe(1000);
  });

  it('keeps what was written before its client went away', async () => {
    const upload = start(skip);
    await upload.send(lines('stays', 10_001));
    await until(async () => (await stored('stays')) >= 10_000, 'the first batch to be written');
    upload.breakOff();
    expect(await stored('stays')).toBeLessThan(10_002);
  });
});
