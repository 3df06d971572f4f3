import { beforeAll, describe, expect, it } from '@jest/globals';
import { type Database, noRowLimit, type ReadSession } from '../../src/db/index.ts';
import { createOrderService } from '../../src/features/orders/service.ts';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { hire } from '../support/staff.ts';
import { type TestTenant, useTenantry } from '../support/tenantry.ts';
import { unchanged } from '../support/untouched.ts';

const database = useDatabase();
const service = useTenantry(database);

interface OrderBody {
  id: string;
  number: number;
  status: string;
  totalCents: number;
  lines: { productId: string; quantity: number; unitPriceCents: number }[];
  version: number;
}

const unknownId = '01900000-0000-7000-8000-000000000000';

describe.each(['shared', 'schema'] as const)('orders of a tenant with isolation %s', (isolation) => {
  let tenant: TestTenant;
  let other: TestTenant;
  let made = 0;
  const schema = isolation === 'shared' ? 'shared' : `tenant_orders_${isolation}`;
  beforeAll(async () => {
    tenant = await service.onboard(`orders_${isolation}`, isolation);
    other = await service.onboard(`orders_other_${isolation}`, isolation);
  });

  /** The id of a new product. */
  async function product(
    values: { stock?: number; priceCents?: number; currency?: string } = {},
    of = tenant,
  ) {
    made += 1;
    const body = { sku: `P-${made}`, name: 'Saw', priceCents: 100, stock: 10, ...values };
    return ((await of.client.post('/v1/products').send(body).expect(201)).body as { id: string }).id;
  }
  const stockOf = async (id: string) =>
    ((await tenant.client.get(`/v1/products/${id}`).expect(200)).body as { stock: number }).stock;
  const place = (...lines: (readonly [string, number])[]) =>
    tenant.client
      .post('/v1/orders')
      .send({ lines: lines.map(([productId, quantity]) => ({ productId, quantity })) });
  const placed = async (...lines: (readonly [string, number])[]) =>
    (await place(...lines).expect(201)).body as OrderBody;

  it('take stock and keep price, total and lines in the order in which they were given', async () => {
    const cheap = await product({ priceCents: 150, stock: 10 });
    const dear = await product({ priceCents: 2000, stock: 2 });
    const created = await place([dear, 2], [cheap, 3]).expect(201);
    const order = created.body as OrderBody;
    expect(created.headers['location']).toBe(`/v1/orders/${order.id}`);
    expect(order).toEqual({
      id: expect.any(String),
      number: expect.any(Number),
      status: 'placed',
      customerId: null,
      totalCents: 4450,
      currency: 'USD',
      lines: [
        { productId: dear, quantity: 2, unitPriceCents: 2000 },
        { productId: cheap, quantity: 3, unitPriceCents: 150 },
      ],
      version: 1,
      placedAt: expect.any(String),
      updatedAt: expect.any(String),
    });
    expect([await stockOf(cheap), await stockOf(dear)]).toEqual([7, 0]);
    await tenant.client.patch(`/v1/products/${cheap}`).send({ priceCents: 1 }).expect(200);
    await tenant.client.get(`/v1/orders/${order.id}`).expect(200, order);
  });

  it('are refused as a whole when one product is short, which is named', async () => {
    const enough = await product({ stock: 5 });
    const short = await product({ stock: 1 });
    await unchanged(database, async () => {
      expectProblem(await place([enough, 5], [short, 2]), 409, 'insufficient_stock', ['/lines/1/productId']);
    });
    await placed([enough, 5], [short, 1]);
  });

  it('are refused as a whole for a product that is deleted, foreign or unknown', async () => {
    const [there, deleted, foreign] = [await product(), await product(), await product({}, other)];
    await tenant.client.delete(`/v1/products/${deleted}`).expect(204);
    await unchanged(database, async () => {
      for (const gone of [deleted, foreign, unknownId]) {
        expectProblem(await place([there, 1], [gone, 1]), 404, 'not_found', ['/lines/1/productId']);
      }
    });
  });

  it('have one currency, and a total that a JSON number can hold', async () => {
    const [dollars, euros] = [await product(), await product({ currency: 'EUR' })];
    const gold = await product({ priceCents: 1_000_000_000_000, stock: 1_000_000 });
    await unchanged(database, async () => {
      expectProblem(await place([dollars, 1], [euros, 1]), 422, 'unprocessable');
      expectProblem(await place([gold, 1_000_000]), 422, 'unprocessable');
    });
    expect((await placed([gold, 9007])).totalCents).toBe(9_007_000_000_000_000);
  });

  it('may have a customer, who is a user of the tenant', async () => {
    const customer = await hire(service, tenant, 'viewer');
    const stranger = await hire(service, other, 'viewer');
    const lines = [{ productId: await product(), quantity: 1 }];
    const created = await tenant.client
      .post('/v1/orders')
      .send({ customerId: customer.id.toUpperCase(), lines })
      .expect(201);
    const { id } = created.body as OrderBody;
    expect(created.body).toMatchObject({ customerId: customer.id });
    await unchanged(database, async () => {
      for (const customerId of [stranger.id, unknownId]) {
        const refused = await tenant.client.post('/v1/orders').send({ customerId, lines });
        expectProblem(refused, 404, 'not_found', ['/customerId']);
        const repointed = await tenant.client.patch(`/v1/orders/${id}`).send({ customerId });
        expectProblem(repointed, 404, 'not_found', ['/customerId']);
      }
    });
    const { body } = await tenant.client.patch(`/v1/orders/${id}`).send({ customerId: null }).expect(200);
    expect(body).toMatchObject({ customerId: null, version: 2, lines });
  });

  it('give their stock back when they are cancelled, once', async () => {
    const id = await product({ stock: 5 });
    const order = await placed([id, 4]);
    const cancelled = await tenant.client.post(`/v1/orders/${order.id}/cancel`).expect(200);
    expect(cancelled.body).toMatchObject({
      id: order.id,
      status: 'cancelled',
      lines: order.lines,
      version: 2,
    });
    expect(await stockOf(id)).toBe(5);
    await unchanged(database, async () => {
      expectProblem(await tenant.client.post(`/v1/orders/${order.id}/cancel`), 409, 'order_cancelled');
      expectProblem(await tenant.client.post(`/v1/orders/${unknownId}/cancel`), 404, 'not_found');
    });
  });

  it('can be cancelled after a product of theirs was deleted', async () => {
    const [kept, gone] = [await product({ stock: 5 }), await product({ stock: 5 })];
    const order = await placed([kept, 1], [gone, 1]);
    await tenant.client.delete(`/v1/products/${gone}`).expect(204);
    await tenant.client.post(`/v1/orders/${order.id}/cancel`).expect(200);
    expect(await stockOf(kept)).toBe(5);
  });

  it('vanish with their lines when they are deleted, and come back with exactly these', async () => {
    const [one, two] = [await product(), await product()];
    const order = await placed([one, 1], [two, 2]);
    const neighbour = await placed([one, 3]);
    const path = `/v1/orders/${order.id}`;
    await tenant.client.delete(path).expect(204);
    const live = `select from "${schema}".order_lines where order_id = $1 and deleted_at is null`;
    expect(await database.superuser(live, [order.id])).toEqual([]);
    expectProblem(await tenant.client.get(path), 404, 'not_found');
    expectProblem(await tenant.client.patch(path).send({ customerId: null }), 404, 'not_found');
    expectProblem(await tenant.client.delete(path), 404, 'not_found');
    expectProblem(await tenant.client.post(`${path}/cancel`), 404, 'not_found');
    const listed = await tenant.client.get('/v1/orders?include=lines&limit=100').expect(200);
    const { data } = listed.body as { data: OrderBody[] };
    expect(data.map(({ id }) => id)).not.toContain(order.id);
    expect(data).toContainEqual(neighbour);
    const restored = await tenant.client.post(`${path}/restore`).expect(200);
    expect(restored.body).toEqual({ ...order, version: 3, updatedAt: expect.any(String) });
    await tenant.client.get(path).expect(200, restored.body as object);
  });

  it('do not bring back lines that another deletion removed', async () => {
    const [one, two] = [await product(), await product()];
    const order = await placed([one, 1], [two, 2]);
    await database.superuser(
      `update "${schema}".order_lines set deleted_at = now(), deletion_id = $1 where order_id = $2 and product_id = $3`,
      [unknownId, order.id, two],
    );
    await tenant.client.delete(`/v1/orders/${order.id}`).expect(204);
    const { body } = await tenant.client.post(`/v1/orders/${order.id}/restore`).expect(200);
    expect((body as OrderBody).lines).toEqual([{ productId: one, quantity: 1, unitPriceCents: 100 }]);
  });

  it.each([1, 2, 100])(
    'are listed with their lines in two statements when a page has up to %i',
    async (limit) => {
      const id = await product({ stock: 10 });
      for (const quantity of [1, 2, 3]) await placed([id, quantity]);
      const { db } = service.tenantry.data;
      const { orders, statements } = countingStatements(db);
      const request = { limit, sort: { field: 'placedAt', direction: 'desc' }, counted: false } as const;
      const { rows } = await orders.list(tenant.scope, { ...request, include: ['lines'] });
      expect(rows.length).toBeGreaterThanOrEqual(Math.min(limit, 3));
      expect(rows.every((row) => row.lines !== undefined && row.lines.length > 0)).toBe(true);
      expect(statements()).toBe(2);
      expect((await orders.list(tenant.scope, { ...request, include: [] })).rows[0]).not.toHaveProperty(
        'lines',
      );
      expect(statements()).toBe(3);
    },
  );
});

/** An order service whose reads are counted, statement by statement. */
function countingStatements(db: Database) {
  let statements = 0;
  const counting = (session: ReadSession): ReadSession => ({
    ...session,
    query(text, values, constraints) {
      statements += 1;
      return session.query(text, values, constraints);
    },
  });
  const counted: Database = {
    ...db,
    read: (scope, fn) => db.read(scope, (session) => fn(counting(session))),
  };
  const orders = createOrderService(counted, noRowLimit);
  return { orders, statements: () => statements };
}
