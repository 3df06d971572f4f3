import { beforeAll, describe, expect, it } from '@jest/globals';
import { v7 as uuidv7 } from 'uuid';
import { orderLines } from '../../src/features/orders/repository.ts';
import { useDatabase } from '../support/database.ts';
import { createHoldings, emailOf, type Holdings, type Resource, skuOf } from '../support/holdings.ts';
import { allRows, expectSameRows } from '../support/rows.ts';
import { password, problemOf, useTenantry } from '../support/tenantry.ts';

/** What has been deleted is nowhere, and comes back as it was. */
const database = useDatabase();
const service = useTenantry(database);
const resources: Resource[] = ['users', 'products', 'orders'];

describe.each(['shared', 'schema'] as const)('in a tenant with isolation %s', (isolation) => {
  let held: Holdings;
  const client = () => held.tenant.client;
  beforeAll(async () => {
    held = await createHoldings(await service.onboard(`deletion_${isolation}`, isolation));
  });

  const place = (resource: Resource, state: 'live' | 'deleted') => `/v1/${resource}/${held[resource][state]}`;
  const product = (sku: string, stock = 5) => ({ sku, name: sku, priceCents: 10, stock });
  async function make(resource: Resource, body: object): Promise<string> {
    const answer = await client().post(`/v1/${resource}`).send(body).expect(201);
    return (answer.body as { id: string }).id;
  }
  const line = (productId: string) => ({ productId, quantity: 1 });
  const statesOf = async (ids: readonly string[]) => {
    const rows = (await allRows(database)).filter(({ row }) => ids.includes(row.id));
    return Object.fromEntries(
      rows.map(({ row }) => [row.id, row['deleted_at'] === null ? 'live' : 'deleted']),
    );
  };

  it.each(resources)('deleted %s are in no list and no count', async (resource) => {
    const { body } = await client().get(`/v1/${resource}?limit=100&count=exact`).expect(200);
    const { data, page } = body as { data: { id: string }[]; page: { total: number } };
    const ids = data.map((row) => row.id);
    expect(ids).toContain(held[resource].live);
    expect(ids).not.toContain(held[resource].deleted);
    expect(page.total).toBe(ids.length);
  });

  it.each([
    ['users', 'email', emailOf],
    ['products', 'sku', skuOf],
  ] as const)('deleted %s are found by no filter', async (resource, field, value) => {
    const path = `/v1/${resource}?count=exact&filter[${field}]=`;
    const { body } = await client()
      .get(path + value(held.tenant.slug, 'deleted'))
      .expect(200);
    expect(body).toMatchObject({ data: [], page: { total: 0 } });
  });

  it.each(resources)('deleted %s cannot be read, changed or deleted again', async (resource) => {
    const change = { users: { name: 'x' }, products: { stock: 9 }, orders: { customerId: null } }[resource];
    const before = await allRows(database);
    await client().get(place(resource, 'deleted')).expect(404);
    await client().patch(place(resource, 'deleted')).send(change).expect(404);
    await client().delete(place(resource, 'deleted')).expect(404);
    expectSameRows(await allRows(database), before);
  });

  it('a deleted order cannot be cancelled, and cancelling puts no stock into a deleted product', async () => {
    await client()
      .post(`${place('orders', 'deleted')}/cancel`)
      .expect(404);
    const productId = await make('products', product(uuidv7()));
    const order = await make('orders', { lines: [line(productId)] });
    await client().delete(`/v1/products/${productId}`).expect(204);
    const before = (await allRows(database)).find(({ row }) => row.id === productId);
    await client().post(`/v1/orders/${order}/cancel`).expect(200);
    expect((await allRows(database)).find(({ row }) => row.id === productId)).toEqual(before);
  });

  it('what is deleted cannot be referred to', async () => {
    const live = line(held.products.live);
    const order = (body: object) => client().post('/v1/orders').send(body).expect(404);
    await order({ lines: [line(held.products.deleted)] });
    await order({ lines: [live, line(held.products.deleted)] });
    await order({ lines: [live], customerId: held.users.deleted });
    await client().patch(place('orders', 'live')).send({ customerId: held.users.deleted }).expect(404);
  });

  it.each([
    ['products', { name: 'x', priceCents: 1, stock: 1 }, 'sku', 'sku_taken', () => uuidv7()],
    ['users', { password }, 'email', 'email_taken', () => `${uuidv7()}@deletion.test`],
  ] as const)(
    'the unique value of deleted %s is free, and taken when they would come back',
    async (...row) => {
      const [resource, body, field, code, value] = row;
      const unique = { ...body, [field]: value() };
      const first = await make(resource, unique);
      await client().post(`/v1/${resource}`).send(unique).expect(409);
      await client().delete(`/v1/${resource}/${first}`).expect(204);
      const second = await make(resource, unique);
      const before = await allRows(database);
      const problem = problemOf(await client().post(`/v1/${resource}/${first}/restore`).expect(409));
      expect(problem).toMatchObject({ code, errors: [{ pointer: `/${field}` }] });
      expectSameRows(await allRows(database), before);
      await client().delete(`/v1/${resource}/${second}`).expect(204);
      await client().post(`/v1/${resource}/${first}/restore`).expect(200);
      await client().post(`/v1/${resource}/${second}/restore`).expect(409);
      expect(await statesOf([first, second])).toEqual({ [first]: 'live', [second]: 'deleted' });
    },
  );

  it('restore brings back what one deletion removed, and nothing else', async () => {
    const [kept, gone] = [
      await make('products', product(uuidv7())),
      await make('products', product(uuidv7())),
    ];
    const order = await make('orders', { lines: [line(kept), line(gone)] });
    const other = await make('orders', { lines: [line(kept)] });
    const { data } = service.tenantry;
    const lines = await data.db.read(held.tenant.scope, (session) =>
      orderLines.findIn(session, 'orderId', [order, other]),
    );
    const idOf = (orderId: string, productId: string) =>
      lines.find((row) => row.orderId === orderId && row.productId === productId)?.id ?? '';
    const [keptLine, goneLine, otherLine] = [idOf(order, kept), idOf(order, gone), idOf(other, kept)];
    const all = [order, other, keptLine, goneLine, otherLine];

    // An earlier deletion of one line, then one of each order.
    await data.db.write(held.tenant.scope, (session) => orderLines.softDelete(session, goneLine));
    const started = await statesOf(all);
    expect(Object.values(started).toSorted()).toEqual(['deleted', 'live', 'live', 'live', 'live']);
    await client().delete(`/v1/orders/${order}`).expect(204);
    await client().delete(`/v1/orders/${other}`).expect(204);
    expect(new Set(Object.values(await statesOf(all)))).toEqual(new Set(['deleted']));

    const { body } = await client().post(`/v1/orders/${order}/restore`).expect(200);
    expect(body).toMatchObject({ id: order, lines: [{ productId: kept }] });
    expect(await statesOf(all)).toEqual({ ...started, [other]: 'deleted', [otherLine]: 'deleted' });
    await client().post(`/v1/orders/${other}/restore`).expect(200);
    expect(await statesOf(all)).toEqual(started);
  });

  it.each(resources)('restore of %s that are there changes nothing', async (resource) => {
    const before = await allRows(database);
    const { body } = await client().get(place(resource, 'live')).expect(200);
    await client()
      .post(`${place(resource, 'live')}/restore`)
      .expect(200, body as object);
    expectSameRows(await allRows(database), before);
  });

  it.each(resources)('restored %s are what they were, one version on for each step', async (resource) => {
    const { body: before } = await client().get(place(resource, 'live')).expect(200);
    await client().delete(place(resource, 'live')).expect(204);
    const { body: after } = await client()
      .post(`${place(resource, 'live')}/restore`)
      .expect(200);
    const { version, updatedAt, ...rest } = before as { version: number; updatedAt: string };
    // The removal of a user is a step more: it ends the access tokens that are out.
    expect(after).toMatchObject({ ...rest, version: version + (resource === 'users' ? 3 : 2) });
    expect((after as { updatedAt: string }).updatedAt).not.toBe(updatedAt);
  });

  it('a deleted user cannot log in, and one who is restored can', async () => {
    const { slug } = held.tenant;
    const login = (email: string) =>
      service.api().post('/v1/auth/login').set('X-Tenant-ID', slug).send({ email, password });
    await login(emailOf(slug, 'deleted')).expect(401);
    await client()
      .post(`${place('users', 'deleted')}/restore`)
      .expect(200);
    await login(emailOf(slug, 'deleted')).expect(200);
  });
});
