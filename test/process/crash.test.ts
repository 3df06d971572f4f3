import { afterEach, beforeAll, expect, it, jest } from '@jest/globals';
import { killChildren } from '../support/child.ts';
import { useDatabase } from '../support/database.ts';
import { useFolder } from '../support/folder.ts';
import { clientWithToken } from '../support/http.ts';
import { startServing } from '../support/served.ts';
import { startTenantry, type TestTenant } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

jest.setTimeout(60_000);

const database = useDatabase();
const folder = useFolder();
afterEach(killChildren);

const tenants: TestTenant[] = [];
beforeAll(async () => {
  const service = await startTenantry(database);
  tenants.push(
    await service.onboard('crash_shared', 'shared'),
    await service.onboard('crash_schema', 'schema'),
  );
  await service.tenantry.stop();
});

it('every write that was acknowledged before kill -9 is there after a restart, and every order is whole', async () => {
  const acknowledged = new Map<string, string[]>(tenants.map(({ slug }) => [slug, []]));
  const served = await startServing(database, folder());
  const dead = new AbortController();
  const writing = tenants.flatMap((tenant) =>
    Array.from({ length: 5 }, async (_, n) => {
      const client = clientWithToken(served.tenantUrl, tenant.token);
      for (let round = 0; !dead.signal.aborted; round += 1) {
        const sku = `${n}-${round}`;
        try {
          const made = await client.post<{ id: string }>('/v1/products', {
            sku,
            name: sku,
            priceCents: 1,
            stock: 5,
          });
          if (made.status !== 201) throw new Error(`The write was answered with ${made.status}`);
          acknowledged.get(tenant.slug)?.push(`/v1/products/${made.body.id}`);
          const line = { productId: made.body.id, quantity: 2 };
          const order = await client.post<{ id: string }>('/v1/orders', { lines: [line] });
          if (order.status !== 201) throw new Error(`The order was answered with ${order.status}`);
          acknowledged.get(tenant.slug)?.push(`/v1/orders/${order.body.id}`);
        } catch (error) {
          if (!dead.signal.aborted) throw error;
        }
      }
    }),
  );
  const all = () => [...acknowledged.values()].reduce((sum, paths) => sum + paths.length, 0);
  await until(() => all() > 300, '300 writes');
  dead.abort();
  served.child.kill('SIGKILL');
  await Promise.all(writing);
  await served.child.ended();

  const again = await startServing(database, folder());
  for (const tenant of tenants) {
    const client = clientWithToken(again.tenantUrl, tenant.token);
    for (const path of acknowledged.get(tenant.slug) ?? []) {
      expect({ path, status: (await client.get(path)).status }).toEqual({ path, status: 200 });
    }
    const schema = tenant.isolation === 'shared' ? 'shared' : `tenant_${tenant.slug}`;
    // An order takes stock: what is missing of it is in the lines, whatever the crash has cut short.
    const broken = await database.superuser(
      `select p.sku from "${schema}".products p
       left join "${schema}".order_lines l on l.tenant_id = p.tenant_id and l.product_id = p.id
       where p.tenant_id = $1 group by p.id, p.sku, p.stock having p.stock + coalesce(sum(l.quantity), 0) <> 5`,
      [tenant.id],
    );
    expect(broken).toEqual([]);
  }
});
