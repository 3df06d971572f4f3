import { beforeAll, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { type TestTenant, useTenantry } from '../support/tenantry.ts';
import { forbidChanges } from '../support/untouched.ts';

const database = useDatabase();
const service = useTenantry(database);

interface Item {
  id: string;
  sku: string;
  name: string;
  priceCents: number;
  createdAt: string;
}
interface List {
  data: Item[];
  page: { next: string | null; prev: string | null; limit: number; total?: number; estimate?: number };
}

describe.each(['shared', 'schema'] as const)('lists of a tenant with isolation %s', (isolation) => {
  let tenant: TestTenant;
  let other: TestTenant;
  let all: Item[];
  beforeAll(async () => {
    tenant = await service.onboard(`lists_${isolation}`, isolation);
    other = await service.onboard(`lists_other_${isolation}`, isolation);
    const { products } = service.tenantry.data;
    // Written in one transaction, so that createdAt is the same for all; few names and prices, so that these tie, too.
    const items = Array.from({ length: 25 }, (_, index) => ({
      sku: `SKU-${String((index * 7) % 25).padStart(2, '0')}`,
      name: `Name ${index % 3}`,
      description: null,
      priceCents: (index % 4) * 100,
      currency: index % 5 === 0 ? 'EUR' : 'USD',
      stock: 1,
    }));
    all = await products.createMany(tenant.scope, items);
    await products.createMany(other.scope, items);
    await database.caughtUp();
  });

  const list = async (query: string, of = tenant) =>
    (await of.client.get(`/v1/products${query}`).expect(200)).body as List;

  async function walk(query: string, betweenPages?: () => Promise<unknown>): Promise<Item[]> {
    const seen: Item[] = [];
    let next: string | null = null;
    do {
      const { data, page }: List = await list(next === null ? query : `${query}&cursor=${next}`);
      seen.push(...data);
      next = page.next;
      await betweenPages?.();
    } while (next !== null);
    return seen;
  }

  /** To the last page and back, page by page. @returns what the way back has shown, and the last page */
  async function walkBack(query: string): Promise<Item[]> {
    let here = await list(query);
    while (here.page.next !== null) here = await list(`${query}&cursor=${here.page.next}`);
    const seen = [...here.data];
    while (here.page.prev !== null) {
      here = await list(`${query}&cursor=${here.page.prev}`);
      seen.unshift(...here.data);
    }
    return seen;
  }

  it.each(['createdAt', 'name', 'sku', 'priceCents'] as const)(
    'show every row once, page by page, sorted by %s in both directions',
    async (field) => {
      const before = (a: Item, b: Item) =>
        a[field] < b[field] || (a[field] === b[field] && a.id < b.id) ? -1 : 1;
      const ascending = all.toSorted(before);
      expect(await walk(`?limit=4&sort=${field}`)).toEqual(ascending);
      expect(await walk(`?limit=4&sort=-${field}`)).toEqual(ascending.toReversed());
      expect(await walkBack(`?limit=4&sort=${field}`)).toEqual(ascending);
    },
  );

  it('have 20 rows a page and the newest first unless asked otherwise', async () => {
    const { data, page } = await list('');
    expect(data).toHaveLength(20);
    expect(page).toEqual({ next: expect.any(String), prev: null, limit: 20 });
    expect(data.map(({ id }) => id)).toEqual(
      all
        .map(({ id }) => id)
        .toSorted()
        .toReversed()
        .slice(0, 20),
    );
    expect((await list('?limit=100')).page).toEqual({ next: null, prev: null, limit: 100 });
    expect((await list('?limit=25')).page.next).toBeNull();
  });

  it('name the next page in a Link header, which keeps the rest of the query', async () => {
    const first = await tenant.client.get('/v1/products?limit=13&sort=sku&count=exact').expect(200);
    const linkOf = (answer: typeof first, rel: string) =>
      new RegExp(`<(/v1/products\\?[^>]+)>; rel="${rel}"`).exec(String(answer.headers['link']))?.[1];
    expect(linkOf(first, 'prev')).toBeUndefined();
    const second = await tenant.client.get(String(linkOf(first, 'next'))).expect(200);
    expect((second.body as List).page).toEqual({
      next: null,
      prev: expect.any(String),
      limit: 13,
      total: 25,
    });
    expect((second.body as List).data).toHaveLength(12);
    expect(linkOf(second, 'next')).toBeUndefined();
    const again = await tenant.client.get(String(linkOf(second, 'prev'))).expect(200);
    expect((again.body as List).data).toEqual((first.body as List).data);
    expect((again.body as List).page).toMatchObject({ next: expect.any(String), prev: null });
  });

  it('count only when they are asked to, and what the filter leaves', async () => {
    expect((await list('?limit=1')).page).not.toHaveProperty('total');
    expect((await list('?limit=1&count=exact')).page.total).toBe(25);
    expect((await list('?limit=1&count=exact&filter[currency]=EUR')).page.total).toBe(5);
    expect((await list('?count=exact&filter[sku]=none')).page).toEqual({
      next: null,
      prev: null,
      limit: 20,
      total: 0,
    });
  });

  it('hold what equals the filters, all of them, page by page', async () => {
    const expected = all.filter(({ name, sku }) => name === 'Name 1' && sku !== '');
    const got = await walk(`?limit=3&sort=sku&${encodeURIComponent('filter[name]')}=Name%201`);
    expect(got).toEqual(expected.toSorted((a, b) => (a.sku < b.sku ? -1 : 1)));
    const both = await list('?filter[name]=Name+1&filter[sku]=SKU-00');
    expect(both.data).toEqual(all.filter(({ name, sku }) => name === 'Name 1' && sku === 'SKU-00'));
    expect((await list(`?filter[name]=' or 1=1 --`)).data).toEqual([]);
    expect((await list('?filter[name]=%25')).data).toEqual([]);
  });

  it('neither repeat nor lose a row because others come and go between the pages', async () => {
    const guests: Item[] = [];
    const seen = await walk('?limit=5&sort=-createdAt', async () => {
      const body = { sku: `GUEST-${guests.length}`, name: 'Guest', priceCents: 1, stock: 1 };
      const created = await tenant.client.post('/v1/products').send(body).expect(201);
      guests.push(created.body as Item);
    });
    expect(seen.map(({ id }) => id)).toEqual(
      all
        .map(({ id }) => id)
        .toSorted()
        .toReversed(),
    );
    for (const { id } of guests) await tenant.client.delete(`/v1/products/${id}`).expect(204);
    expect(await walk('?limit=50&sort=sku')).toHaveLength(25);
    await database.caughtUp();
  });

  it('of orders filter by status and customer, and hold lines only when asked to', async () => {
    const [{ id: productId } = { id: '' }] = all;
    const lines = [{ productId, quantity: 1 }];
    const customerId = tenant.scope.actor.id;
    const placed = await tenant.client.post('/v1/orders').send({ lines, customerId }).expect(201);
    const { id } = placed.body as Item;
    const orders = async (query: string) =>
      ((await tenant.client.get(`/v1/orders${query}`).expect(200)).body as List).data;
    const { lines: _lines, ...bare } = placed.body as Item & { lines: unknown };
    expect(await orders('')).toEqual([bare]);
    expect(await orders('?include=lines')).toEqual([placed.body]);
    expect(await orders(`?filter[customerId]=${customerId.toUpperCase()}&filter[status]=placed`)).toEqual([
      bare,
    ]);
    expect(await orders('?filter[status]=cancelled')).toEqual([]);
    await tenant.client.delete(`/v1/orders/${id}`).expect(204);
    expect(await orders('?include=lines')).toEqual([]);
  });

  describe('refuse', () => {
    forbidChanges(database);

    it.each([
      ['limit=0', 'limit'],
      ['limit=-1', 'limit'],
      ['limit=101', 'limit'],
      ['limit=1e9', 'limit'],
      ['limit=1000000000', 'limit'],
      ['limit=NaN', 'limit'],
      ['limit=', 'limit'],
      ['limit=2.5', 'limit'],
      ['limit=0x10', 'limit'],
      ['limit=%201', 'limit'],
      ['limit=5&limit=5', 'limit'],
      ['sort=stock', 'sort'],
      ['sort=tenantId', 'sort'],
      ['sort=--sku', 'sort'],
      ['sort=sku,name', 'sort'],
      ['sort=__proto__', 'sort'],
      ['sort=sku&sort=name', 'sort'],
      ['count=yes', 'count'],
      ['count=exact&count=exact', 'count'],
      ['include=lines', 'include'],
      ['filter[version]=1', 'filter[version]'],
      ['filter[stock]=many', 'filter[stock]'],
      ['filter[stock]=1e3', 'filter[stock]'],
      ['filter[stock][prefix]=1', 'filter[stock][prefix]'],
      ['filter[stock][in]=1,x', 'filter[stock][in].1'],
      ['filter[stock][null]=true', 'filter[stock][null]'],
      ['filter[description][null]=yes', 'filter[description][null]'],
      ['filter[createdAt][gte]=yesterday', 'filter[createdAt][gte]'],
      ['filter[createdAt][gte]=2026-02-30T00:00:00Z', 'filter[createdAt][gte]'],
      ['fields=', 'fields'],
      ['fields=sku,tenantId', 'fields.1'],
      ['fields=sku&fields=name', 'fields'],
      ['deleted=yes', 'deleted'],
      ['filter[sku][ne]=a&filter[sku][ne]=b', 'filter[sku][ne]'],
      ['filter[sku][]=a', 'filter[sku][]'],
      ['filter[sku][like]=a', 'filter[sku][like]'],
      ['filter[tenant_id]=x', 'filter[tenant_id]'],
      ['filter[deletedAt]=x', 'filter[deletedAt]'],
      ['filter[constructor]=x', 'filter[constructor]'],
      ['filter[sku]=a&filter[sku]=b', 'filter[sku]'],
      ['filter[sku][gt]=a', 'filter[sku][gt]'],
      ['filter[sku]=', 'filter[sku]'],
      ['filter[sku]=%00', 'filter[sku]'],
      ['filter[currency]=usd', 'filter[currency]'],
      ['filter=sku', 'filter'],
      ['page=2', 'page'],
      ['offset=20', 'offset'],
      ['__proto__=x', '__proto__'],
      ['constructor=x', 'constructor'],
      ['toString=x', 'toString'],
      ['filter[sku]=%ED%A0%80', ''],
      ['filter[sku]=%E0%A4%A', ''],
      ['filter[sku]=100%', ''],
    ])('?%s', async (query, pointer) => {
      expectProblem(await tenant.client.get(`/v1/products?${query}`), 400, 'invalid_input', [pointer]);
    });

    it.each([
      ['include=customer', 'include.0'],
      ['include=lines,__proto__', 'include.1'],
      ['include=', 'include'],
      ['include=lines&include=lines', 'include'],
      ['filter[status]=paid', 'filter[status]'],
      ['filter[customerId]=me', 'filter[customerId]'],
    ])('orders?%s', async (query, pointer) => {
      expectProblem(await tenant.client.get(`/v1/orders?${query}`), 400, 'invalid_input', [pointer]);
    });

    it('every fault of a query in one answer', async () => {
      const answer = await tenant.client.get('/v1/products?limit=0&sort=x&nonsense=1');
      expectProblem(answer, 400, 'invalid_input', ['limit', 'sort', 'nonsense']);
    });

    it('a cursor that is not from this very list', async () => {
      const cursor = String((await list('?limit=2&sort=sku')).page.next);
      const [payload = '', signature = ''] = cursor.split('.');
      const forged = Buffer.from(JSON.stringify(['', '00000000-0000-0000-0000-000000000000'])).toString(
        'base64url',
      );
      const others = String((await list('?limit=2&sort=sku', other)).page.next);
      const queries = [
        ...['x', '', '.', `${payload}.`, `.${signature}`, payload, `${forged}.${signature}`, others].map(
          (value) => `sort=sku&cursor=${value}`,
        ),
        `sort=sku&cursor=${cursor}.`,
        `sort=sku&cursor=${cursor}A`,
        `sort=sku&cursor=A${cursor}`,
        `sort=sku&cursor=${'A'.repeat(3000)}`,
        `sort=sku&cursor=${cursor}&cursor=${cursor}`,
        `sort=-sku&cursor=${cursor}`,
        `sort=name&cursor=${cursor}`,
        `cursor=${cursor}`,
        `sort=sku&filter[currency]=EUR&cursor=${cursor}`,
      ];
      for (const query of queries) {
        expectProblem(await tenant.client.get(`/v1/products?${query}`), 400, 'invalid_input', ['cursor']);
      }
      const elsewhere = String((await list('?limit=2')).page.next);
      for (const path of ['/v1/orders', '/v1/users']) {
        expectProblem(await tenant.client.get(`${path}?cursor=${elsewhere}`), 400, 'invalid_input', [
          'cursor',
        ]);
      }
      const ofOperators = await service.operator().get(`/admin/v1/tenants?cursor=${elsewhere}`);
      expectProblem(ofOperators, 400, 'invalid_input', ['cursor']);
      await list(`?sort=sku&limit=7&count=exact&cursor=${cursor}`);
    });
  });
});
