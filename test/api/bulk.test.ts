import { beforeAll, describe, expect, it } from '@jest/globals';
import { gzipSync } from 'node:zlib';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { allRows, expectSameRows, withoutEvents } from '../support/rows.ts';
import { problemOf, type TestTenant, useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
const service = useTenantry(database);

const row = (sku: string, more: object = {}) => ({ sku, name: 'Saw', priceCents: 1990, stock: 3, ...more });
const rows = (prefix: string, count: number, more: object = {}) =>
  Array.from({ length: count }, (_, n) => row(`${prefix}-${n}`, more));

interface Created {
  created: number;
  ids: (string | null)[];
  rejectedCount: number;
  rejected: { index: number; code: string; errors: { pointer: string; code: string }[] }[];
}

describe.each(['shared', 'schema'] as const)('in bulk, for a tenant with isolation %s', (isolation) => {
  let tenant: TestTenant;
  let other: TestTenant;
  beforeAll(async () => {
    tenant = await service.onboard(`bulk_${isolation}`, isolation);
    other = await service.onboard(`bulk_other_${isolation}`, isolation);
  });

  const post = (body: unknown, query = '', of = tenant) =>
    of.client.post(`/v1/products/bulk${query}`).send(body as object);
  const count = async (filter: string, of = tenant) => {
    const { body } = await of.client
      .get(`/v1/products?count=exact&${filter}`)
      .set('Read-Consistency', 'session');
    return (body as { page: { total: number } }).page.total;
  };
  const events = async (action: string) => {
    const { body } = await tenant.client
      .get(`/v1/audit-events?filter[action]=${action}&limit=100`)
      .expect(200);
    return (body as { data: { before: unknown; after: Record<string, unknown>; resourceId: unknown }[] })
      .data;
  };

  describe('creating', () => {
    it('writes all rows, in the order given, with their defaults', async () => {
      const answer = await post(rows('order', 2500, { name: ' Saw ' })).expect(201);
      const { created, ids, rejected, rejectedCount } = answer.body as Created;
      expect([created, ids.length, new Set(ids).size, rejected, rejectedCount]).toEqual([
        2500,
        2500,
        2500,
        [],
        0,
      ]);
      expect(answer.headers['consistency-token']).toBeDefined();
      for (const at of [0, 1234, 2499]) {
        const { body } = await tenant.client.get(`/v1/products/${ids[at]}`).expect(200);
        expect(body).toMatchObject({
          sku: `order-${at}`,
          name: 'Saw',
          currency: 'USD',
          description: null,
          version: 1,
        });
      }
    });

    it('keeps any text', async () => {
      const odd = row(`"{},\\ 'x' NULL`, { name: 'NULL', description: '{"a":"\\"}, 🪚 \n \u202e' });
      const { ids } = (await post([odd, row('null-1', { description: 'null' }), row('null-2')]).expect(201))
        .body as Created;
      expect((await tenant.client.get(`/v1/products/${ids[0]}`)).body).toMatchObject(odd);
      expect((await tenant.client.get(`/v1/products/${ids[1]}`)).body).toMatchObject({ description: 'null' });
      expect((await tenant.client.get(`/v1/products/${ids[2]}`)).body).toMatchObject({ description: null });
    });

    it('writes nothing when one row is at fault, and names every fault', async () => {
      const before = await allRows(database);
      const faulty = rows('faulty', 30);
      faulty[17] = row('');
      faulty[20] = row('x', { stock: -1, colour: 'red' });
      faulty[21] = row('nul \0');
      faulty[22] = row('half \ud800');
      expectProblem(await post(faulty), 400, 'invalid_input', [
        '/17/sku',
        '/20/stock',
        '/20/colour',
        '/21/sku',
        '/22/sku',
      ]);
      expectSameRows(await allRows(database), before);
    });

    it('writes nothing when one row is there already, and names it', async () => {
      await post([row('taken')]).expect(201);
      const before = await allRows(database);
      const input = rows('fresh', 20);
      input[17] = row('taken');
      expectProblem(await post(input), 409, 'sku_taken', ['/17/sku']);
      expectProblem(await post([row('twin'), row('y'), row('twin')]), 409, 'sku_taken', ['/2/sku']);
      expectSameRows(await allRows(database), before);
      await post([row('taken')], '', other).expect(201);
    });

    it('takes a place that a deletion has made free', async () => {
      const { ids } = (await post([row('free')]).expect(201)).body as Created;
      await tenant.client.delete(`/v1/products/${ids[0]}`).expect(204);
      await post([row('free')]).expect(201);
    });

    it('writes what can be written, when asked to, and reports the rest', async () => {
      await post([row('there')]).expect(201);
      const input = [
        row('skip-1'),
        row('there'),
        row('', { stock: -1 }),
        row('skip-2'),
        row('skip-1'),
        7,
        null,
      ];
      const { created, ids, rejected, rejectedCount } = (await post(input, '?onError=skip').expect(201))
        .body as Created;
      expect(created).toBe(2);
      expect(ids.map((id) => id !== null)).toEqual([true, false, false, true, false, false, false]);
      expect(rejectedCount).toBe(5);
      expect(
        rejected.map(({ index, code, errors }) => [index, code, errors.map((each) => each.pointer)]),
      ).toEqual([
        [1, 'sku_taken', ['/1/sku']],
        [2, 'invalid_input', ['/2/sku', '/2/stock']],
        [4, 'sku_taken', ['/4/sku']],
        [5, 'invalid_input', ['/5']],
        [6, 'invalid_input', ['/6']],
      ]);
      expect(await count('filter[sku][prefix]=skip-')).toBe(2);
      const none = await post([row('there')], '?onError=skip').expect(200);
      expect(none.body).toMatchObject({ created: 0, ids: [null], rejectedCount: 1 });
    });

    it('happens once for each Idempotency-Key, also where a constraint was in the way', async () => {
      const repeat = (body: object, key: string, query = '') => post(body, query).set('Idempotency-Key', key);
      const first = await repeat(rows('once', 5), 'once').expect(201);
      const again = await repeat(rows('once', 5), 'once').expect(201);
      expect([again.body, again.headers['idempotency-replayed']]).toEqual([first.body, 'true']);
      expectProblem(await repeat(rows('other', 5), 'once'), 422, 'idempotency_key_reused');
      const input = [row('once-1'), row('once-new')];
      const skipped = await repeat(input, 'skipped', '?onError=skip').expect(201);
      expect((await repeat(input, 'skipped', '?onError=skip').expect(201)).body).toEqual(skipped.body);
      expectProblem(await repeat(input, 'refused'), 409, 'sku_taken', ['/0/sku', '/1/sku']);
      expectProblem(await repeat(input, 'refused'), 409, 'sku_taken', ['/0/sku', '/1/sku']);
    });

    it('refuses rows that are too deep or have too many fields', async () => {
      const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
      const wide = JSON.stringify(Object.fromEntries(Array.from({ length: 2000 }, (_, n) => [`f${n}`, n])));
      const answer = await tenant.client
        .post('/v1/products/bulk')
        .set('Content-Type', 'application/json')
        .send(`[${deep},${wide}]`);
      expectProblem(answer, 400, 'invalid_input', ['/0', '/1']);
    });

    it('finds the row that a constraint refuses of which the schema knows nothing', async () => {
      await withCheck('name <> $$Forbidden$$', async () => {
        const input = rows('check', 40);
        input[23] = row('check-23', { name: 'Forbidden' });
        const before = withoutEvents(await allRows(database));
        expectProblem(await post(input), 422, 'unprocessable', ['/23']);
        expectSameRows(withoutEvents(await allRows(database)), before);
        input[31] = row('check-31', { name: 'Forbidden' });
        const { created, rejected } = (await post(input, '?onError=skip').expect(201)).body as Created;
        expect([created, rejected.map(({ index, code }) => [index, code])]).toEqual([
          38,
          [
            [23, 'unprocessable'],
            [31, 'unprocessable'],
          ],
        ]);
      });
    });

    it.each([
      ['no array', {}, ''],
      ['nothing', [], ''],
      ['too many', Array.from({ length: 10_001 }, () => 1), ''],
      ['an unknown parameter', [row('p')], '?on=1'],
      ['an unknown way', [row('p')], '?onError=ignore'],
    ])('refuses %s', async (_what, body, query) => {
      expectProblem(await post(body, query), 400, 'invalid_input');
    });

    it('refuses what is no JSON, not UTF-8, of another type, or too large', async () => {
      const raw = (body: Buffer | string, type = 'application/json', headers: Record<string, string> = {}) =>
        tenant.client
          .post('/v1/products/bulk')
          .set({ ...headers, 'Content-Type': type })
          .send(body);
      expectProblem(await raw('[{'), 400, 'malformed_json');
      expectProblem(
        await raw(Buffer.from([0x5b, 0x22, 0xff, 0x22, 0x5d]).toString('latin1'), 'text/plain'),
        415,
        'unsupported_media_type',
      );
      expectProblem(await raw('[]', 'application/json; charset=latin1'), 415, 'unsupported_media_type');
      expectProblem(await raw(`\ufeff${JSON.stringify([row('bom')])}`), 400, 'malformed_json');
      const large = JSON.stringify([row('x', { description: 'x'.repeat(17 * 2 ** 20) })]);
      expectProblem(await raw(large), 413, 'payload_too_large');
    });

    it('unpacks gzip, and no more of it than it takes unpacked', async () => {
      const packed = (body: string | Buffer, encoding = 'gzip') =>
        tenant.client
          .post('/v1/products/bulk')
          .set({ 'Content-Type': 'application/json', 'Content-Encoding': encoding })
          .serialize((value) => value as unknown as string)
          .send(body as never);
      await packed(gzipSync(JSON.stringify(rows('gzip', 10)))).expect(201);
      expectProblem(await packed(gzipSync(`[${' '.repeat(40 * 2 ** 20)}]`)), 413, 'payload_too_large');
      expectProblem(await packed(Buffer.from('no gzip at all')), 400, 'invalid_input', ['Content-Encoding']);
      expectProblem(await packed(gzipSync('[]').subarray(0, 12)), 400, 'invalid_input', ['Content-Encoding']);
      expectProblem(await packed(Buffer.from('[]'), 'zstd'), 415, 'unsupported_media_type');
    });

    it('is told by one event for each thousand rows', async () => {
      const { ids } = (await post(rows('event', 1500)).expect(201)).body as Created;
      const [last, before] = await events('products.bulk_create');
      expect([last?.before, last?.resourceId]).toEqual([null, null]);
      const told = [before?.after['ids'], last?.after['ids']].flat();
      expect(new Set(told)).toEqual(new Set(ids));
      expect(new Set([before?.after['count'], last?.after['count']])).toEqual(new Set([1000, 500]));
    });
  });

  describe('changing and deleting', () => {
    const change = (filter: string, body: object) =>
      tenant.client.patch(`/v1/products/bulk?${filter}`).send(body);
    const remove = (filter: string) => tenant.client.delete(`/v1/products/bulk?${filter}`);

    it('changes what the filters leave, and nothing else', async () => {
      await post([...rows('change', 5), ...rows('other', 3)]).expect(201);
      const filter = 'filter[sku][prefix]=change-&filter[stock][gte]=3';
      expect((await change(`${filter}&dryRun=true`, { stock: 9 }).expect(200)).body).toEqual({ matched: 5 });
      expect(await count('filter[stock]=9')).toBe(0);
      expect((await change(filter, { stock: 9, description: 'new' }).expect(200)).body).toEqual({
        updated: 5,
      });
      const { body } = await tenant.client.get('/v1/products?filter[sku][prefix]=change-').expect(200);
      const { data } = body as { data: { id: string }[] };
      expect(data).toHaveLength(5);
      expect(data).toEqual(
        Array.from({ length: 5 }, () =>
          expect.objectContaining({ stock: 9, description: 'new', version: 2 }),
        ),
      );
      expect(await count('filter[sku][prefix]=other-&filter[stock]=3')).toBe(3);
      const [event] = await events('products.bulk_update');
      expect(event?.after).toMatchObject({ count: 5, changes: { stock: 9, description: 'new' } });
      expect(new Set(event?.after['ids'] as string[])).toEqual(new Set(data.map(({ id }) => id)));
      expect(event?.before).toEqual(
        Object.fromEntries(data.map(({ id }) => [id, { stock: 3, description: null }])),
      );
      expect((await change('filter[sku]=nobody', { stock: 9 }).expect(200)).body).toEqual({ updated: 0 });
    });

    it('deletes what the filters leave, as one deletion, which comes back as one', async () => {
      const { ids } = (await post(rows('gone', 5)).expect(201)).body as Created;
      const filter = 'filter[sku][prefix]=gone-';
      expect((await remove(`${filter}&dryRun=true`).expect(200)).body).toEqual({ matched: 5 });
      expect(await count(filter)).toBe(5);
      const answer = await remove(filter).expect(200);
      const { deleted, deletionId } = answer.body as { deleted: number; deletionId: string };
      expect([deleted, answer.headers['deletion-id']]).toEqual([5, deletionId]);
      expect(await count(filter)).toBe(0);
      const [event] = await events('products.bulk_delete');
      expect(event?.after).toMatchObject({ count: 5, deletionId });
      expect(new Set(event?.after['ids'] as string[])).toEqual(new Set(ids));
      await tenant.client.post(`/v1/products/${ids[2]}/restore`).expect(200);
      expect(await count(filter)).toBe(5);
      expect((await remove('filter[sku]=nobody').expect(200)).body).toEqual({ deleted: 0, deletionId: null });
    });

    it('refuses to do so without a filter, with a version, or with what lists do not filter by', async () => {
      expectProblem(await change('', { stock: 1 }), 400, 'invalid_input', ['filter']);
      expectProblem(await remove('dryRun=true'), 400, 'invalid_input', ['filter']);
      expectProblem(await remove('filter[id]=1'), 400, 'invalid_input', ['filter[id]']);
      expectProblem(await remove('filter[sku]=a&limit=1'), 400, 'invalid_input', ['limit']);
      expectProblem(await change('filter[sku]=a', {}), 400, 'invalid_input');
      expectProblem(
        await change('filter[sku]=a', { stock: 1 }).set('If-Match', '"1.abcdef"'),
        400,
        'invalid_input',
        ['If-Match'],
      );
    });

    it('changes nothing when two rows would have one place', async () => {
      await post(rows('same', 2)).expect(201);
      const before = await allRows(database);
      expectProblem(await change('filter[sku][prefix]=same-', { sku: 'one' }), 409, 'sku_taken', ['/sku']);
      expectSameRows(await allRows(database), before);
    });

    it('changes no more than 10,000 rows, and says how many there are', async () => {
      await post(rows('many', 10_000, { currency: 'XTS' })).expect(201);
      expect((await change('filter[currency]=XTS', { stock: 4 }).expect(200)).body).toEqual({
        updated: 10_000,
      });
      await post([row('one too many', { currency: 'XTS' })]).expect(201);
      for (const answer of [
        await change('filter[currency]=XTS', { stock: 5 }),
        await remove('filter[currency]=XTS'),
      ]) {
        expectProblem(answer, 422, 'too_many_matched');
        expect(problemOf(answer)['detail']).toContain('10001');
      }
      expect(await count('filter[stock]=4&filter[currency]=XTS')).toBe(10_000);
    });
  });

  async function withCheck(condition: string, fn: () => Promise<void>): Promise<void> {
    const table = isolation === 'shared' ? 'shared.products' : `"tenant_bulk_${isolation}".products`;
    await database.superuser(`alter table ${table} add constraint of_test check (${condition}) not valid`);
    try {
      await fn();
    } finally {
      await database.superuser(`alter table ${table} drop constraint of_test`);
    }
  }
});

it('only those may write in bulk who may write', async () => {
  const tenant = await service.onboard('bulk_viewers', 'shared');
  const viewer = { email: 'viewer@bulk.test', password: 'a password of tests', role: 'viewer' };
  await tenant.client.post('/v1/users').send(viewer).expect(201);
  const client = await service.login('bulk_viewers', viewer.email, viewer.password);
  expectProblem(await client.post('/v1/products/bulk').send([row('x')]), 403, 'forbidden');
  expectProblem(await client.patch('/v1/products/bulk?filter[sku]=x').send({ stock: 1 }), 403, 'forbidden');
  expectProblem(await client.delete('/v1/products/bulk?filter[sku]=x'), 403, 'forbidden');
  expectProblem(
    await service
      .api()
      .post('/v1/products/bulk')
      .send([row('x')]),
    401,
    'unauthenticated',
  );
  expectProblem(await tenant.client.get('/v1/products/bulk'), 405, 'method_not_allowed');
});

it('keeps to the limit of rows', async () => {
  const tenant = await service.onboard('bulk_limited', 'shared', { rows: 50 });
  expectProblem(await tenant.client.post('/v1/products/bulk').send(rows('all', 60)), 409, 'limit_reached');
  const some = await tenant.client.post('/v1/products/bulk?onError=skip').send(rows('some', 60)).expect(201);
  const { created, rejected } = some.body as Created;
  expect(created).toBeGreaterThan(40);
  expect(created).toBeLessThan(51);
  expect(new Set(rejected.map(({ code }) => code))).toEqual(new Set(['limit_reached']));
});
