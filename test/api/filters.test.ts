import { beforeAll, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { hire } from '../support/staff.ts';
import { type TestTenant, useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
const service = useTenantry(database);

interface Item {
  id: string;
  sku: string;
  name: string;
  description: string | null;
  priceCents: number;
  stock: number;
  createdAt: string;
  version: number;
  deletedAt?: string | null;
  deletionId?: string | null;
}

let tenant: TestTenant;
let all: Item[];
beforeAll(async () => {
  tenant = await service.onboard('filters', 'shared');
  all = await service.tenantry.data.products.createMany(
    tenant.scope,
    Array.from({ length: 12 }, (_, n) => ({
      sku: n === 0 ? 'A,B' : `SKU-${n}`,
      name: n % 2 === 0 ? `Even ${n}` : `100%_odd ${n}`,
      description: n % 3 === 0 ? null : `of ${n}`,
      priceCents: n * 1000,
      currency: 'USD',
      stock: n,
    })),
  );
  await database.caughtUp();
});

const ask = (query: string) =>
  tenant.client.get(`/v1/products?limit=100&sort=priceCents&${query}`).expect(200);
const found = async (query: string) =>
  ((await ask(query)).body as { data: Item[] }).data.map(({ stock }) => stock);
const stocks = (holds: (item: Item) => boolean) => all.filter(holds).map(({ stock }) => stock);

describe('filter[field][operator]', () => {
  it.each<[string, (item: Item) => boolean]>([
    ['filter[stock]=3', ({ stock }) => stock === 3],
    ['filter[stock][eq]=3', ({ stock }) => stock === 3],
    ['filter[stock][ne]=3', ({ stock }) => stock !== 3],
    ['filter[stock][lt]=3', ({ stock }) => stock < 3],
    ['filter[stock][lte]=3', ({ stock }) => stock <= 3],
    ['filter[stock][gt]=3', ({ stock }) => stock > 3],
    ['filter[stock][gte]=3&filter[stock][lt]=9', ({ stock }) => stock >= 3 && stock < 9],
    ['filter[stock][in]=1,3,99', ({ stock }) => stock === 1 || stock === 3],
    ['filter[stock][lt]=999999999999', () => true],
    ['filter[stock][gt]=-999999999999', () => true],
    ['filter[stock]=999999999999', () => false],
    ['filter[stock][in]=999999999999', () => false],
    ['filter[priceCents][gte]=9000', ({ priceCents }) => priceCents >= 9000],
    ['filter[name][prefix]=Even', ({ name }) => name.startsWith('Even')],
    ['filter[name][prefix]=100%25_', ({ name }) => name.startsWith('100%_')],
    ['filter[name][prefix]=%25', () => false],
    ['filter[name][prefix]=_', () => false],
    ['filter[sku][in]=SKU-1,SKU-2', ({ sku }) => sku === 'SKU-1' || sku === 'SKU-2'],
    [String.raw`filter[sku][in]=A\,B,SKU-2`, ({ sku }) => sku === 'A,B' || sku === 'SKU-2'],
    ['filter[sku][ne]=SKU-2', ({ sku }) => sku !== 'SKU-2'],
    ['filter[description][null]=true', ({ description }) => description === null],
    ['filter[description][null]=false', ({ description }) => description !== null],
    ['filter[description][ne]=of 1', ({ description }) => description !== 'of 1'],
    ['filter[createdAt][lt]=2020-01-01T00:00:00Z', () => false],
    ['filter[createdAt][gt]=2020-01-01T00:00:00%2B02:00', () => true],
  ])('%s', async (query, holds) => {
    expect(await found(query)).toEqual(stocks(holds));
  });

  it('can be counted and paged through in both directions', async () => {
    const query = 'filter[stock][gte]=2&filter[name][prefix]=Even&limit=2&sort=stock'.replace(
      '&sort=stock',
      '',
    );
    const path = `/v1/products?${query}&sort=priceCents&count=exact`;
    const first = (await tenant.client.get(path).expect(200)).body as Page;
    expect(first.page.total).toBe(5);
    const second = (await tenant.client.get(`${path}&cursor=${first.page.next}`).expect(200)).body as Page;
    expect(second.data.map(({ stock }) => stock)).toEqual([6, 8]);
    const back = (await tenant.client.get(`${path}&cursor=${second.page.prev}`).expect(200)).body as Page;
    expect(back.data).toEqual(first.data);
    const other = `/v1/products?${query.replace('2', '3')}&sort=priceCents&cursor=${first.page.next}`;
    expectProblem(await tenant.client.get(other), 400, 'invalid_input', ['cursor']);
  });

  it('of orders take their own words for fields', async () => {
    const { client } = await service.onboard('filters_orders', 'schema');
    const product = { sku: 'O', name: 'Ordered', priceCents: 5, stock: 1 };
    const made = await client.post('/v1/products').send(product).expect(201);
    const lines = [{ productId: (made.body as Item).id, quantity: 1 }];
    const { body } = await client.post('/v1/orders').send({ lines }).expect(201);
    const { placedAt, totalCents } = body as { placedAt: string; totalCents: number };
    const orders = async (query: string) =>
      ((await client.get(`/v1/orders?${query}`).expect(200)).body as Page).data.length;
    expect(await orders(`filter[placedAt]=${placedAt}`)).toBe(1);
    expect(await orders(`filter[placedAt][lt]=${placedAt}`)).toBe(0);
    expect(await orders(`filter[placedAt][gte]=${placedAt}&filter[totalCents][lte]=${totalCents}`)).toBe(1);
    expect(await orders(`filter[customerId][null]=true&count=exact&sort=-placedAt`)).toBe(1);
  });
});

interface Page {
  data: Item[];
  page: { next: string | null; prev: string | null; total?: number; estimate?: number };
}

describe('fields', () => {
  it('leave out all others, of lists and of one', async () => {
    const { data } = (await ask('fields=sku,stock&filter[stock]=4')).body as Page;
    expect(data).toEqual([{ sku: 'SKU-4', stock: 4 }]);
    const path = `/v1/products/${all[4]?.id}`;
    expect((await tenant.client.get(`${path}?fields=version`).expect(200)).body).toEqual({ version: 1 });
    expectProblem(await tenant.client.get(`${path}?fields=secret`), 400, 'invalid_input', ['fields.0']);
    expectProblem(await tenant.client.get(`${path}?sort=sku`), 400, 'invalid_input', ['sort']);
  });
});

describe('count=estimated', () => {
  it('is exact for a few, and what the planner expects for many', async () => {
    expect(((await ask('count=estimated&filter[stock][lt]=3')).body as Page).page).toMatchObject({
      estimate: 3,
    });
    const many = await service.onboard('estimated', 'schema');
    const row = { name: 'Many', description: null, priceCents: 1, currency: 'USD', stock: 1 };
    await service.tenantry.data.products.createMany(
      many.scope,
      Array.from({ length: 3000 }, (_, n) => ({ ...row, sku: `M-${n}` })),
    );
    await database.superuser('analyze tenant_estimated.products');
    // As if it had been ten times as dense when it was looked at last: only the planner can be wrong by that.
    await database.superuser(
      `update pg_class set reltuples = 30000 where oid = 'tenant_estimated.products'::regclass`,
    );
    await database.caughtUp();
    const { body } = await many.client.get('/v1/products?count=estimated&limit=1').expect(200);
    const { estimate = 0, total } = (body as Page).page;
    expect(total).toBeUndefined();
    expect(estimate).toBeGreaterThan(10_000);
    expect(((await many.client.get('/v1/products?count=exact')).body as Page).page.total).toBe(3000);
  });
});

describe('deleted rows', () => {
  it('are shown to those who may, with when and with what they went', async () => {
    const body = { sku: 'GONE', name: 'Gone', priceCents: 1, stock: 77 };
    const { id } = (await tenant.client.post('/v1/products').send(body).expect(201)).body as Item;
    const gone = await tenant.client.delete(`/v1/products/${id}`).expect(204);
    const deletionId = gone.headers['deletion-id'];
    expect(await found('filter[stock]=77')).toEqual([]);
    expect(await found('filter[stock]=77&deleted=exclude')).toEqual([]);
    const only = (await ask('deleted=only&count=exact')).body as Page;
    expect(only.page.total).toBe(1);
    expect(only.data).toEqual([
      expect.objectContaining({ id, version: 2, deletionId, deletedAt: expect.stringMatching(/^20.*Z$/) }),
    ]);
    expect(await found('deleted=include&filter[stock][gte]=10')).toEqual([77, 10, 11]);
    await tenant.client.get(`/v1/products/${id}`).expect(404);
    const shown = await tenant.client.get(`/v1/products/${id}?deleted=include`).expect(200);
    expect(shown.body).toMatchObject({ id, deletionId });
    const live = await tenant.client.get(`/v1/products/${all[1]?.id}?deleted=include`).expect(200);
    expect(live.body).toMatchObject({ deletedAt: null, deletionId: null });
    await tenant.client.get(`/v1/products/${all[1]?.id}?deleted=only`).expect(404);
  });

  it('have pages of their own', async () => {
    const first = await tenant.client.get('/v1/products?deleted=include&limit=1').expect(200);
    const { page } = first.body as Page;
    await tenant.client.get(`/v1/products?deleted=include&limit=1&cursor=${page.next}`).expect(200);
    for (const other of ['', 'deleted=only&', 'deleted=exclude&']) {
      const carried = await tenant.client.get(`/v1/products?${other}limit=1&cursor=${page.next}`);
      expectProblem(carried, 400, 'invalid_input', ['cursor']);
    }
  });

  it('are not shown to members', async () => {
    const member = await hire(service, tenant, 'member');
    for (const path of ['/v1/products?deleted=only', `/v1/products/${all[1]?.id}?deleted=include`]) {
      expectProblem(await member.client.get(path), 403, 'forbidden');
    }
  });
});
