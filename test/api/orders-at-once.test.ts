import { beforeAll, describe, expect, it } from '@jest/globals';
import { noRowLimit } from '../../src/db/index.ts';
import { createOrderService } from '../../src/features/orders/service.ts';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { hire } from '../support/staff.ts';
import { type TestTenant, useTenantry } from '../support/tenantry.ts';
import { statusesOf, useWire } from '../support/wire.ts';

const database = useDatabase();
const service = useTenantry(database);
const wire = useWire(() => service.tenantry.tenantApp);

interface OrderBody {
  id: string;
  number: number;
  lines: { productId: string; quantity: number }[];
}

/** Many requests reach the service in the same moment. */
describe.each(['shared', 'schema'] as const)('orders at once, isolation %s:', (isolation) => {
  let tenant: TestTenant;
  let colleague: string;
  let made = 0;
  beforeAll(async () => {
    tenant = await service.onboard(`at_once_${isolation}`, isolation);
    colleague = (await hire(service, tenant, 'member')).token;
  });

  async function product(stock: number): Promise<string> {
    made += 1;
    const body = { sku: `P-${made}`, name: 'Saw', priceCents: 100, stock };
    return ((await tenant.client.post('/v1/products').send(body).expect(201)).body as { id: string }).id;
  }
  /** At the primary: a replica may not have what a colleague has just done. */
  const stockOf = async (id: string) => (await service.tenantry.data.products.get(tenant.scope, id)).stock;
  const place = (token: string, ...lines: (readonly [string, number])[]) =>
    wire.json(token, 'POST', '/v1/orders', {
      lines: lines.map(([productId, quantity]) => ({ productId, quantity })),
    });

  it('of two buyers of the last piece exactly one gets it', async () => {
    for (let round = 0; round < 5; round += 1) {
      const last = await product(1);
      const answers = await Promise.all([place(tenant.token, [last, 1]), place(colleague, [last, 1])]);
      expect(statusesOf(answers)).toEqual([201, 409]);
      for (const answer of answers.filter(({ status }) => status === 409))
        expectProblem(answer, 409, 'insufficient_stock', ['/lines/0/productId']);
      expect(await stockOf(last)).toBe(0);
    }
  });

  it('never sells more than there is, and all there is', async () => {
    const id = await product(10);
    const answers = await Promise.all(Array.from({ length: 30 }, () => place(tenant.token, [id, 1])));
    expect(statusesOf(answers)).toEqual([...Array<number>(10).fill(201), ...Array<number>(20).fill(409)]);
    expect(await stockOf(id)).toBe(0);
  });

  it('orders that name the same products in opposite order do not stand in each other’s way', async () => {
    const ids = [await product(1000), await product(1000), await product(1000)];
    const { db } = service.tenantry.data;
    let runs = 0;
    const orders = createOrderService(
      {
        ...db,
        // A dead-lock would not show in the answers, because its victim is run again.
        write: (scope, fn) =>
          db.write(scope, (session) => {
            runs += 1;
            return fn(session);
          }),
      },
      noRowLimit,
    );
    const lines = ids.map((productId) => ({ productId, quantity: 1 }));
    const inTurn = (index: number) => (index % 2 === 0 ? lines : lines.toReversed());
    await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        orders.create(tenant.scope, { customerId: null, lines: inTurn(index) }),
      ),
    );
    for (const id of ids) expect(await stockOf(id)).toBe(960);
    expect(runs).toBe(40);
  });

  it('an order that is cancelled twice gives its stock back once', async () => {
    for (let round = 0; round < 5; round += 1) {
      const id = await product(3);
      const order = (await place(tenant.token, [id, 3])).body as OrderBody;
      const cancel = (token: string) => wire.json(token, 'POST', `/v1/orders/${order.id}/cancel`);
      const answers = await Promise.all([cancel(tenant.token), cancel(colleague)]);
      expect(statusesOf(answers)).toEqual([200, 409]);
      for (const answer of answers.filter(({ status }) => status === 409))
        expectProblem(answer, 409, 'order_cancelled', []);
      expect(await stockOf(id)).toBe(3);
    }
  });

  it('cancelling and placing orders over the same products keeps the count', async () => {
    const ids = [await product(100), await product(100)] as const;
    const first = await Promise.all(
      Array.from({ length: 10 }, () => place(tenant.token, [ids[0], 1], [ids[1], 1])),
    );
    const answers = await Promise.all(
      first.flatMap(({ body }) => [
        wire.json(tenant.token, 'POST', `/v1/orders/${(body as OrderBody).id}/cancel`),
        place(colleague, [ids[1], 2], [ids[0], 2]),
      ]),
    );
    expect(statusesOf(answers)).toEqual([...Array<number>(10).fill(200), ...Array<number>(10).fill(201)]);
    for (const id of ids) expect(await stockOf(id)).toBe(80);
  });

  it('a stock that is set while orders are placed is not lost', async () => {
    const id = await product(1);
    const [patched, ...answers] = await Promise.all([
      wire.json(tenant.token, 'PATCH', `/v1/products/${id}`, { stock: 100 }),
      ...Array.from({ length: 10 }, () => place(colleague, [id, 1])),
    ]);
    expect(patched.status).toBe(200);
    const sold = answers.filter(({ status }) => status === 201).length;
    // Sold before the stock was set: one at most. Sold after it: taken from the hundred.
    expect([100 - sold, 101 - sold]).toContain(await stockOf(id));
  });

  it('numbers run 1, 2, 3, … without a gap or a repeat, also when orders fail between', async () => {
    const own = await service.onboard(`numbers_${isolation}`, isolation);
    const created = await own.client
      .post('/v1/products')
      .send({ sku: 'N', name: 'Saw', priceCents: 1, stock: 20 })
      .expect(201);
    const { id } = created.body as { id: string };
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, index) => place(own.token, [id, index % 3 === 0 ? 50 : 1])),
    );
    const numbers = answers
      .filter(({ status }) => status === 201)
      .map(({ body }) => (body as OrderBody).number)
      .toSorted((a, b) => a - b);
    expect(numbers).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
  });
});
