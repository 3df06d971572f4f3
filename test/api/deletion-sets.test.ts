import { beforeAll, describe, expect, it } from '@jest/globals';
import { v7 as uuidv7 } from 'uuid';
import { systemClock } from '../../src/clock.ts';
import { createMigrator } from '../../src/control/migrations/migrator.ts';
import { createRetention, retentionHandler } from '../../src/control/tenants/retention/job.ts';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { rowsByTable } from '../support/purging.ts';
import { type TestTenant, useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
const service = useTenantry(database);

interface Item {
  id: string;
}

describe.each(['shared', 'schema'] as const)('one deletion, isolation %s', (isolation) => {
  let tenant: TestTenant;
  const schema = isolation === 'shared' ? 'shared' : 'tenant_sets_schema';
  beforeAll(async () => {
    tenant = await service.onboard(`sets_${isolation}`, isolation);
  });

  const product = async (sku: string) =>
    (await tenant.client.post('/v1/products').send({ sku, name: sku, priceCents: 1, stock: 9 }).expect(201))
      .body as Item;

  /** As a deletion by filter leaves them: several rows of a table under one deletion. */
  async function deletedTogether(...skus: string[]): Promise<Item[]> {
    const items: Item[] = [];
    for (const sku of skus) items.push(await product(sku));
    await database.superuser(
      `update ${schema}.products set deleted_at = now(), deletion_id = $2 where id = any($1)`,
      [items.map(({ id }) => id), uuidv7()],
    );
    return items;
  }

  it('is one set: an order goes with its lines, and comes back with exactly these', async () => {
    const { id: productId } = await product('P-1');
    const placed = await tenant.client
      .post('/v1/orders')
      .send({ lines: [{ productId, quantity: 2 }] })
      .expect(201);
    const { id } = placed.body as Item;
    const gone = await tenant.client.delete(`/v1/orders/${id}`).expect(204);
    const [lines] = await database.superuser<{ n: number }>(
      `select count(*)::int as n from ${schema}.order_lines where deletion_id = $1`,
      [gone.headers['deletion-id']],
    );
    expect(lines?.n).toBe(1);
    const restored = await tenant.client.post(`/v1/orders/${id}/restore`).expect(200);
    expect((restored.body as { lines: object[] }).lines).toEqual([
      { productId, quantity: 2, unitPriceCents: 1 },
    ]);
  });

  it('brings back all of it, whichever row is asked for, and nothing of another deletion', async () => {
    const [first, second] = await deletedTogether('S-1', 'S-2');
    const [other] = await deletedTogether('S-3');
    await tenant.client.post(`/v1/products/${second?.id}/restore`).expect(200);
    await tenant.client.get(`/v1/products/${first?.id}`).expect(200);
    await tenant.client.get(`/v1/products/${other?.id}`).expect(404);
  });

  it('brings back nothing when a place is taken, and names every one that is', async () => {
    const [first, second, third] = await deletedTogether('T-1', 'T-2', 'T-3');
    await product('T-1');
    await product('T-3');
    const refused = await tenant.client.post(`/v1/products/${first?.id}/restore`);
    expectProblem(refused, 409, 'sku_taken', ['/sku', `/${third?.id}/sku`]);
    for (const item of [first, second, third]) {
      await tenant.client.get(`/v1/products/${item?.id}`).expect(404);
    }
  });

  describe('is for good', () => {
    const expire = async (days: number, of: Table) => {
      await database.superuser(
        `update ${schema}.${of} set deleted_at = now() - $1 * interval '1 day' where deletion_id is not null`,
        [days],
      );
    };
    const sweep = async () => {
      const { control } = service.tenantry;
      if (control === undefined) throw new Error('There is no control plane');
      // Tenants that are younger than the retention have nothing that is old enough.
      await database.superuser(`update control.tenants set created_at = now() - interval '1 year'`);
      const id = await control.database.write(async (session) => {
        const job = await control.jobs.add(session, { kind: 'retention', tenant: null, input: { days: 90 } });
        return job.id;
      });
      return ended(id);
    };
    const ended = async (id: string) => {
      let job: {
        finishedAt: string | null;
        status: string;
        result: { deleted: Record<string, number> } | null;
      };
      do {
        job = (await service.operator().get(`/admin/v1/jobs/${id}`).expect(200)).body as typeof job;
      } while (job.finishedAt === null);
      expect(job.status).toBe('succeeded');
      return job.result?.deleted;
    };
    type Table = 'products' | 'orders' | 'order_lines';

    it('after the retention, and not before; what is still referred to waits', async () => {
      await database.superuser(`delete from ${schema}.products where deletion_id is not null`);
      const kept = await product('R-1');
      const used = await product('R-2');
      const placed = await tenant.client
        .post('/v1/orders')
        .send({ lines: [{ productId: used.id, quantity: 1 }] })
        .expect(201);
      const order = (placed.body as Item).id;
      for (const { id } of [kept, used]) await tenant.client.delete(`/v1/products/${id}`).expect(204);
      await expire(89, 'products');
      expect(await sweep()).toEqual({});
      await expire(91, 'products');
      expect(await sweep()).toEqual({ products: 1 });
      await tenant.client.post(`/v1/products/${kept.id}/restore`).expect(404);
      // A line of an order that is there refers to it.
      await tenant.client.get(`/v1/orders/${order}`).expect(200);
      await tenant.client.delete(`/v1/orders/${order}`).expect(204);
      for (const table of ['orders', 'order_lines'] as const) await expire(91, table);
      expect(await sweep()).toEqual({ order_lines: 1, orders: 1, products: 1 });
      await tenant.client.post(`/v1/orders/${order}/restore`).expect(404);
    });

    it('not for a tenant under a legal hold, nor for anybody else', async () => {
      const [gone] = await deletedTogether('H-1');
      await expire(400, 'products');
      const hold = { legalHold: { reason: 'A court asks for it.' } };
      await service.operator().patch(`/admin/v1/tenants/${tenant.id}`).send(hold).expect(200);
      const before = await rowsByTable(database, tenant.id);
      expect(await sweep()).toEqual({});
      expect(await rowsByTable(database, tenant.id)).toEqual(before);
      await service.operator().patch(`/admin/v1/tenants/${tenant.id}`).send({ legalHold: null }).expect(200);
      await tenant.client.post(`/v1/products/${gone?.id}/restore`).expect(200);
    });

    it('not for a tenant that comes under a legal hold between one batch and the next', async () => {
      await deletedTogether('N-1', 'N-2');
      await expire(400, 'products');
      const { control } = service.tenantry;
      if (control === undefined) throw new Error('There is no control plane');
      const migrator = createMigrator({
        adminUrl: String(database.env()['DATABASE_ADMIN_URL']),
        clock: systemClock,
      });
      const holding = (reason: string | null) =>
        service
          .operator()
          .patch(`/admin/v1/tenants/${tenant.id}`)
          .send({ legalHold: reason === null ? null : { reason } })
          .expect(200);
      const pace = { rest: async () => void (await holding('A court asks for it.')) };
      const parts = { database: control.database, migrator, clock: systemClock, pace, batchRows: 1 };
      const left = async () => {
        const [row] = await database.superuser<{ n: number }>(
          `select count(*)::int as n from ${schema}.products where tenant_id = $1`,
          [tenant.id],
        );
        return row?.n ?? 0;
      };
      const before = await left();
      await retentionHandler(parts)({
        ...{ id: uuidv7(), tenant: undefined, input: { days: 90 }, state: {} },
        signal: new AbortController().signal,
        save: async () => undefined,
      });
      expect(before - (await left())).toBe(1);
      await database.superuser(`delete from ${schema}.products where deletion_id is not null`);
      await holding(null);
      await migrator.stop();
    });

    it('not for a tenant whose move is not confirmed: its rows are what it would go back to', async () => {
      const [gone] = await deletedTogether('M-1');
      await expire(400, 'products');
      const moved = (from: string | null) =>
        database.superuser(
          `update control.tenants set moved_from = $2::text, moved_at = case when $2::text is null then null else now() end
           where id = $1`,
          [tenant.id, from],
        );
      await moved('tenant_before');
      expect(await sweep()).toEqual({});
      await moved(null);
      await tenant.client.post(`/v1/products/${gone?.id}/restore`).expect(200);
    });
  });
});

describe('the job of the day', () => {
  const jobs = () =>
    database.superuser(
      `select from control.jobs where kind = 'retention' and created_at > now() - interval '1 day'`,
    );

  it('is asked for once, by whichever process comes first', async () => {
    await database.superuser(`delete from control.jobs where kind = 'retention'`);
    const { control } = service.tenantry;
    if (control === undefined) throw new Error('There is no control plane');
    const parts = { database: control.database, jobs: control.jobs, clock: systemClock };
    const process = (days: number) => createRetention({ ...parts, days });
    await process(0).tend();
    await process(3650).tend();
    expect(await jobs()).toHaveLength(0);
    await Promise.all(Array.from({ length: 5 }, () => process(90).tend()));
    await process(90).tend();
    expect(await jobs()).toHaveLength(1);
  });
});
