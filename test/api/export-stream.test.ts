import { request } from 'node:http';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { createHoldings } from '../support/holdings.ts';
import { expectProblem } from '../support/problem.ts';
import { replicasFresh, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';
import { useUploads } from '../support/upload.ts';

const database = useDatabase();
const service = useTenantry(database);
const uploads = useUploads(() => service.tenantry.tenantApp);

interface Row {
  id: string;
  sku: string;
  stock: number;
}

const rows = (prefix: string, count: number, more: object = {}) =>
  Array.from({ length: count }, (_, n) => ({
    ...{ sku: `${prefix}-${n}`, name: 'Saw', priceCents: n, stock: 3 },
    ...more,
  }));

function parsed(text: string): Row[] {
  expect(text === '' || text.endsWith('\n')).toBe(true);
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Row);
}

describe.each(['shared', 'schema'] as const)(
  'the export of a list of a tenant with isolation %s',
  (isolation) => {
    let tenant: TestTenant;
    let ids: string[];
    beforeAll(async () => {
      tenant = await service.onboard(`list_${isolation}`, isolation);
      const { body } = await tenant.client.post('/v1/products/bulk').send(rows('all', 2500)).expect(201);
      ids = (body as { ids: string[] }).ids;
    });

    const get = async (query: string) => {
      const answer = await tenant.client.get(`/v1/products?${query}`).buffer().expect(200);
      expect(answer.headers['content-type']).toBe('application/x-ndjson');
      return parsed(answer.text);
    };

    it("has every row once, in the order of ids, after a write of one's own", async () => {
      const exported = await get('format=ndjson');
      expect(exported.map((row) => row.id)).toEqual(ids);
      const { body } = await tenant.client.get(`/v1/products/${ids[7]}`).expect(200);
      expect(exported[7]).toEqual(body);
    });

    it('is asked for by Accept as well, unless JSON is preferred', async () => {
      const accepting = (accept: string) => tenant.client.get('/v1/products').set('Accept', accept).buffer();
      expect(parsed((await accepting('application/x-ndjson').expect(200)).text)).toHaveLength(2500);
      for (const accept of ['*/*', 'application/json, application/x-ndjson;q=0.5']) {
        expect((await accepting(accept).expect(200)).body).toMatchObject({ page: { limit: 20 } });
      }
    });

    it('takes the filters and fields of lists', async () => {
      expect(await get('format=ndjson&filter[sku]=all-9&fields=sku,stock')).toEqual([
        { sku: 'all-9', stock: 3 },
      ]);
      expect(await get('format=ndjson&filter[priceCents][gte]=500')).toHaveLength(2000);
      expect(await get('format=ndjson&filter[sku]=nobody')).toEqual([]);
    });

    it('refuses what chooses a page, and what is not known', async () => {
      for (const parameter of ['limit=5', 'cursor=x', 'sort=name', 'count=exact', 'colour=red']) {
        const answer = await tenant.client.get(`/v1/products?format=ndjson&${parameter}`);
        expectProblem(answer, 400, 'invalid_input', [parameter.replace(/=.*/, '')]);
      }
      expectProblem(await tenant.client.get('/v1/products?format=csv'), 400, 'invalid_input', ['format']);
    });

    it('shows deleted rows to those who may see them', async () => {
      const { body } = await tenant.client.post('/v1/products/bulk').send(rows('gone', 3)).expect(201);
      const { deletionId } = (
        await tenant.client.delete('/v1/products/bulk?filter[sku][prefix]=gone-').expect(200)
      ).body as { deletionId: string };
      const gone = await get('format=ndjson&deleted=only');
      expect(gone.map((row) => row.id)).toEqual((body as { ids: string[] }).ids);
      expect(gone[0]).toMatchObject({ deletionId });
      const viewer = { email: `viewer@${isolation}.test`, password: 'a password of tests', role: 'viewer' };
      await tenant.client.post('/v1/users').send(viewer).expect(201);
      const client = await service.login(tenant.slug, viewer.email, viewer.password);
      expectProblem(await client.get('/v1/products?format=ndjson&deleted=only'), 403, 'forbidden');
    });

    it('answers HEAD with what GET begins with', async () => {
      const { headers, text } = await tenant.client.head('/v1/products?format=ndjson').expect(200);
      expect([headers['content-type'], text]).toEqual(['application/x-ndjson', undefined]);
    });
  },
);

it('is there for every resource', async () => {
  const tenant = await service.onboard('list_each', 'shared');
  const held = await createHoldings(tenant);
  await replicasFresh(service);
  const get = async (path: string) => parsed((await tenant.client.get(path).buffer().expect(200)).text);
  expect((await get('/v1/users?format=ndjson')).map((row) => row.id)).toContain(held.users.live);
  expect((await get('/v1/orders?format=ndjson&include=lines'))[0]).toMatchObject({
    lines: [{ quantity: 1 }],
  });
  expect((await get('/v1/api-keys?format=ndjson')).map((row) => row.id)).toEqual([held['api-keys'].live]);
  const events = await get('/v1/audit-events?format=ndjson');
  expect(events.map((row) => row.id)).toEqual(events.map((row) => row.id).toSorted());
  expect(events.length).toBeGreaterThan(10);
});

describe('a long export', () => {
  let tenant: TestTenant;
  const large = { description: 'x'.repeat(9000) };
  beforeAll(async () => {
    tenant = await service.onboard('list_long', 'schema');
    for (const part of [0, 1, 2]) {
      await tenant.client
        .post('/v1/products/bulk')
        .send(rows(`long-${part}`, 1500, large))
        .expect(201);
    }
  });

  interface Download {
    /** Resolves when there is no more; rejects when it breaks off. */
    rest: () => Promise<Row[]>;
    leave: () => void;
  }

  /** Takes the first bytes and then nothing until it is told to. */
  function download(query = ''): Promise<Download> {
    return new Promise((resolve, reject) => {
      const asked = request({
        ...{
          host: '127.0.0.1',
          port: uploads.port(),
          path: `/v1/products?format=ndjson${query}`,
          agent: false,
        },
        headers: { Authorization: `Bearer ${tenant.token}` },
      });
      asked.on('error', reject);
      asked.on('response', (incoming) => {
        incoming.setEncoding('utf8').pause();
        incoming.once('readable', () =>
          resolve({
            leave: () => void asked.destroy(),
            rest: async () => {
              let text = '';
              for await (const part of incoming) text += part;
              return parsed(text);
            },
          }),
        );
      });
      asked.end();
    });
  }

  /** What is read from now on of the products. */
  function reads(): { count: () => number; stop: () => void } {
    const { db } = service.tenantry.data;
    let count = 0;
    const { read } = db;
    db.read = (scope, fn) => {
      if (scope.tenant.slug === 'list_long') count += 1;
      return read(scope, fn);
    };
    return { count: () => count, stop: () => void (db.read = read) };
  }

  it('has what is there all the time, whatever else is written meanwhile', async () => {
    const { rest } = await download();
    const change = (filter: string) => `/v1/products/bulk?filter[sku]${filter}`;
    await tenant.client.patch(change('[prefix]=long-1')).send({ stock: 8, name: 'A' }).expect(200);
    await tenant.client.delete(change('[prefix]=long-2-11')).expect(200);
    await tenant.client.post('/v1/products/bulk').send(rows('new', 100)).expect(201);
    const exported = await rest();
    const skus = exported.map((row) => row.sku);
    expect(new Set(skus).size).toBe(skus.length);
    const lasting = [0, 1, 2]
      .flatMap((part) => rows(`long-${part}`, 1500))
      .filter(({ sku }) => !sku.startsWith('long-2-11'));
    expect(lasting.filter(({ sku }) => !skus.includes(sku))).toEqual([]);
    // The reads after the changes see them.
    expect(exported.filter((row) => row.sku.startsWith('new'))).toHaveLength(100);
    expect(exported.filter((row) => row.sku === 'long-2-1111' || row.sku === 'long-2-1101')).toEqual([]);
  });

  it('reads no further than its client takes, and stops when that goes away', async () => {
    const { count, stop } = reads();
    try {
      const { leave } = await download();
      await until(() => count() > 0, 'the first read');
      const taken = count();
      expect(taken).toBeLessThan(5);
      leave();
      const rows = await (await download()).rest();
      // As long as it takes to read all of it, and nobody else has read.
      expect(count()).toBe(taken + Math.floor(rows.length / 1000) + 1);
    } finally {
      stop();
    }
  });

  it('is broken off when it cannot be finished', async () => {
    const { rest } = await download();
    await database.superuser('alter table tenant_list_long.products rename to products_away');
    try {
      await expect(rest()).rejects.toThrow(/aborted/);
    } finally {
      await database.superuser('alter table tenant_list_long.products_away rename to products');
    }
    expect(await (await download()).rest()).not.toEqual([]);
  });
});
