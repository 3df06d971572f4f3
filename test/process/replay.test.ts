import { afterEach, beforeAll, expect, it, jest } from '@jest/globals';
import { killChildren } from '../support/child.ts';
import { withConnection } from '../support/connection.ts';
import { testPostgres, useDatabase } from '../support/database.ts';
import { useFolder } from '../support/folder.ts';
import { type Answer, createClient } from '../support/http.ts';
import { type Proxy, startProxy } from '../support/proxy.ts';
import { type Served, startServing } from '../support/served.ts';
import { startTenantry, type TestTenant } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

jest.setTimeout(60_000);

const database = useDatabase();
const folder = useFolder();
let proxy: Proxy | undefined;
afterEach(async () => {
  await killChildren();
  await proxy?.close();
});

const tenants: TestTenant[] = [];
const products = new Map<string, string>();
beforeAll(async () => {
  const service = await startTenantry(database);
  for (const isolation of ['shared', 'schema'] as const) {
    const tenant = await service.onboard(`replay_${isolation}`, isolation);
    const { body } = await tenant.client
      .post('/v1/products')
      .send({ sku: 'P', name: 'P', priceCents: 1, stock: 100 })
      .expect(201);
    tenants.push(tenant);
    products.set(tenant.slug, (body as { id: string }).id);
  }
  await service.tenantry.stop();
});

/** Whoever commits a new order waits for this one lock, at the very end. */
const stop = `pg_advisory_xact_lock(4711)`;

it.each(['shared', 'schema'] as const)(
  'an order whose answer was lost with the process is placed once, and answered by the next (%s)',
  async (isolation) => {
    const tenant = tenants.find((each) => each.isolation === isolation);
    const productId = products.get(tenant?.slug ?? '');
    if (tenant === undefined || productId === undefined) throw new Error('there is no such tenant');
    const { schema } = tenant.scope.tenant;
    const orders = () =>
      database.superuser<{ id: string }>(`select id from ${schema}.orders where tenant_id = $1`, [tenant.id]);
    const send = async ({ tenantUrl }: Served): Promise<Answer<{ id: string }>[]> => {
      const client = createClient(tenantUrl, {
        Authorization: `Bearer ${tenant.token}`,
        'Idempotency-Key': 'lost',
      });
      const sent = Array.from({ length: 50 }, () =>
        client
          .post<{ id: string }>('/v1/orders', { lines: [{ productId, quantity: 2 }] })
          .catch(() => undefined),
      );
      return (await Promise.all(sent)).filter((answer) => answer !== undefined);
    };

    const between = await startProxy(testPostgres().primaryUrl);
    proxy = between;
    const { DATABASE_URL = '' } = database.env();
    const first = await startServing(database, folder(), {
      DATABASE_URL: between.through(DATABASE_URL),
      DATABASE_REPLICA_URLS: '',
    });
    await database.superuser(`
      create function public.wait_here() returns trigger language plpgsql as $$ begin perform ${stop}; return null; end $$;
      create constraint trigger wait_here after insert on ${schema}.orders
        deferrable initially deferred for each row execute function public.wait_here()`);
    const lost = await withConnection(database.superuserUrl(), async (client) => {
      await client.query('begin');
      await client.query(`select ${stop}`);
      const answers = send(first);
      const atCommit = `select from pg_locks where locktype = 'advisory' and objid = 4711 and not granted`;
      await until(async () => (await client.query(atCommit)).rowCount === 1, 'the order to be committed');
      // PostgreSQL's word of the commit does not reach the process any more.
      between.pause();
      await client.query('rollback');
      await until(async () => (await orders()).length === 1, 'the order to be there');
      first.child.kill('SIGKILL');
      return answers;
    });
    await first.child.ended();
    expect(lost.filter(({ status }) => status !== 409)).toEqual([]);
    await database.superuser('drop function public.wait_here() cascade');

    const second = await startServing(database, folder());
    const answers = [...(await send(second)), ...(await send(second))];
    const answered = answers.filter(({ status }) => status === 201);
    const [order] = await orders();
    expect(answered.length).toBeGreaterThan(0);
    for (const { body, headers } of answered) {
      expect(body).toEqual(answered[0]?.body);
      expect(body.id).toBe(order?.id);
      expect(headers.get('idempotency-replayed')).toBe('true');
    }
    const waiting = answers.filter(({ status }) => status !== 201).map(({ status }) => status);
    expect(new Set(waiting)).toEqual(new Set(waiting.length > 0 ? [409] : []));
    expect(await orders()).toHaveLength(1);
    const stock = `select stock from ${schema}.products where tenant_id = $1 and id = $2`;
    expect(await database.superuser(stock, [tenant.id, productId])).toEqual([{ stock: 98 }]);
  },
);
