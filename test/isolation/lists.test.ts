import { beforeAll, describe, expect, it } from '@jest/globals';
import type request from 'supertest';
import { v7 as uuidv7 } from 'uuid';
import { useDatabase } from '../support/database.ts';
import { useHoldings, emailOf, type Holding, type Resource, skuOf } from '../support/holdings.ts';
import { allRows, expectSameRows } from '../support/rows.ts';
import { plantStrays } from '../support/stray.ts';
import { problemOf, useTenantry } from '../support/tenantry.ts';

/** Routes without an id in the path: lists, their filters and cursors; and ids that stand in a body. */
const database = useDatabase();
// What is planted behind the service's back is at the primary; a replica may not have it yet.
const service = useTenantry(database, { env: { DATABASE_REPLICA_URLS: '' } });

const { heldBy } = useHoldings(service);
beforeAll(() => plantStrays(database));

interface List {
  data: { id: string }[];
  page: { next: string | null; total: number };
}
const resources: Resource[] = ['users', 'products', 'orders'];
const states: (keyof Holding)[] = ['live', 'deleted'];

/** Filters for what a tenant holds. */
const filters: [resource: Resource, filter: string, value: (slug: string, state: keyof Holding) => string][] =
  [
    ['users', 'email', emailOf],
    ['products', 'sku', skuOf],
    ['products', 'name', (slug) => slug],
    ['orders', 'customerId', (slug, state) => heldBy(slug).users[state]],
  ];

describe.each(['ash', 'cedar'])('for a client of the tenant %s', (slug) => {
  const client = () => heldBy(slug).tenant.client;

  async function list(resource: Resource, query: string): Promise<List> {
    const answer = await client().get(`/v1/${resource}?limit=100&count=exact&${query}`).expect(200);
    return answer.body as List;
  }

  async function ownIds(resource: Resource): Promise<string[]> {
    const rows = (await allRows(database)).filter(
      ({ place, row }) =>
        place === `${heldBy(slug).tenant.scope.tenant.schema}.${resource}` &&
        row.tenant_id === heldBy(slug).tenant.id &&
        row['deleted_at'] === null,
    );
    return rows.map(({ row }) => row.id).toSorted();
  }

  it.each(resources)(
    'the list of %s holds its own rows, all that are there and no others',
    async (resource) => {
      const own = await ownIds(resource);
      const { data, page } = await list(resource, '');
      expect(data.map((row) => row.id).toSorted()).toEqual(own);
      expect(page.total).toBe(own.length);
      expect(own).toContain(heldBy(slug)[resource].live);
    },
  );

  it('the lines of a list of orders are those of its own orders', async () => {
    const { data } = await list('orders', 'include=lines');
    const { products } = heldBy(slug);
    for (const order of data) expect(order).toMatchObject({ lines: [{ productId: products.live }] });
  });

  it.each(filters)(
    'the list of %s by %s finds its own rows and no others',
    async (resource, filter, value) => {
      const query = (text: string) => `filter[${filter}]=${encodeURIComponent(text)}`;
      const found = await list(resource, query(value(slug, 'live')));
      expect(found.data.map((row) => row.id)).toContain(heldBy(slug)[resource].live);
      for (const other of ['birch', 'dogwood']) {
        for (const state of states) {
          const { data, page } = await list(resource, query(value(other, state)));
          expect({ data, page }).toEqual({
            data: [],
            page: { next: null, prev: null, limit: 100, total: 0 },
          });
        }
      }
    },
  );

  it('every page of a long list is its own', async () => {
    const own = await ownIds('products');
    const seen: string[] = [];
    let next: string | null = null;
    do {
      const cursor: string = next === null ? '' : `&cursor=${next}`;
      const { body } = await client().get(`/v1/products?limit=1${cursor}`).expect(200);
      const { data, page } = body as List;
      seen.push(...data.map((row) => row.id));
      next = page.next;
    } while (next !== null);
    expect(seen.toSorted()).toEqual(own);
  });

  it('the cursor of another tenant is as good as none', async () => {
    await heldBy('birch').tenant.client.post('/v1/products').send(product(uuidv7())).expect(201);
    const answer = await heldBy('birch').tenant.client.get('/v1/products?limit=1').expect(200);
    const { next } = (answer.body as List).page;
    const given = problemOf(await client().get(`/v1/products?limit=1&cursor=${next}`).expect(400));
    expect(given).toEqual(problemOf(await client().get('/v1/products?limit=1&cursor=made.up').expect(400)));
  });

  const line = (productId: string) => ({ productId, quantity: 1 });
  const references: [what: string, resource: Resource, send: (id: string) => request.Test][] = [
    [
      'the product of a new order',
      'products',
      (id) =>
        client()
          .post('/v1/orders')
          .send({ lines: [line(id)] }),
    ],
    [
      'one of two products of a new order',
      'products',
      (id) =>
        client()
          .post('/v1/orders')
          .send({ lines: [line(heldBy(slug).products.live), line(id)] }),
    ],
    [
      'the customer of a new order',
      'users',
      (id) =>
        client()
          .post('/v1/orders')
          .send({ customerId: id, lines: [line(heldBy(slug).products.live)] }),
    ],
    [
      'the customer of an order that is there',
      'users',
      (id) =>
        client()
          .patch(`/v1/orders/${heldBy(slug).orders.live}`)
          .send({ customerId: id }),
    ],
  ];

  it.each(references)('%s cannot be what is not there, in the same bytes', async (_what, resource, send) => {
    const before = await allRows(database);
    const bytes = async (id: string) => {
      const { status, text, headers } = await send(id);
      return { status, text: text.replace(String(headers['x-request-id']), '') };
    };
    const unknown = await bytes(uuidv7());
    expect(unknown.status).toBe(404);
    for (const other of ['birch', 'dogwood']) {
      for (const state of states) expect(await bytes(heldBy(other)[resource][state])).toEqual(unknown);
    }
    expect(await bytes(heldBy(slug)[resource].deleted)).toEqual(unknown);
    expectSameRows(await allRows(database), before);
  });

  // Not the second: a product stands in one line of an order.
  it.each(references.toSpliced(1, 1))('%s can be its own', async (_what, resource, send) => {
    const { status } = await send(heldBy(slug)[resource].live);
    expect([200, 201]).toContain(status);
  });

  it.each([
    ['users', 'email', emailOf, { password: 'a password of tests' }],
    ['products', 'sku', skuOf, { name: 'x', priceCents: 1, stock: 1 }],
  ] as const)('the unique values of %s that others use are free', async (resource, field, value, body) => {
    for (const other of ['birch', 'dogwood']) {
      for (const state of states) {
        await client()
          .post(`/v1/${resource}`)
          .send({ ...body, [field]: value(other, state) })
          .expect(201);
      }
    }
  });
});

function product(sku: string) {
  return { sku, name: sku, priceCents: 1, stock: 1 };
}
