import { afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { withConnection } from '../support/connection.ts';
import { useCluster } from '../support/own-cluster.ts';
import { type Proxy, startProxy } from '../support/proxy.ts';
import {
  password,
  replicasFresh,
  startTenantry,
  type TestTenant,
  type TestTenantry,
  useTenantry,
} from '../support/tenantry.ts';
import { expectGreen, underTraffic } from '../support/traffic.ts';
import { until } from '../support/until.ts';

jest.setTimeout(60_000);

const own = useCluster({ replicas: 1 });
const service = useTenantry(own.database);

const proxies: Proxy[] = [];
afterEach(async () => {
  await Promise.all(proxies.splice(0).map((proxy) => proxy.close()));
});
async function proxyTo(url: string | undefined): Promise<Proxy> {
  const proxy = await startProxy(String(url));
  proxies.push(proxy);
  return proxy;
}

let tenant: TestTenant;
beforeAll(async () => {
  tenant = await service.onboard('network', 'schema');
  await own.cluster.caughtUp();
  await replicasFresh(service);
});

describe('F6: a replica that the network separates from its primary', () => {
  it('takes reads and has a receiver, but is not read when it gets old; it heals by itself', async () => {
    const email = 'reader@network.test';
    await tenant.client.post('/v1/users').send({ email, password }).expect(201);
    const reader = await service.login(tenant.slug, email, password);
    const servedBy = async () => String((await reader.get('/v1/products').expect(200)).headers['served-by']);
    const proxy = await proxyTo(own.cluster.primaryUrl);
    await followThrough(proxy.port);
    try {
      await replicasFresh(service);
      expect(await servedBy()).toMatch(/^replica-1;/);

      proxy.pause();
      await until(async () => {
        const body = { sku: `p-${Math.random()}`, name: 'x', priceCents: 1, stock: 1 };
        const { body: made } = await tenant.client.post('/v1/products').send(body).expect(201);
        await tenant.client.get(`/v1/products/${(made as { id: string }).id}`).expect(200);
        return service.tenantry.data.db.nodes()[1]?.state !== 'fresh';
      }, 'the replica to be found old');
      expect(await servedBy()).toBe('primary; reason=no-fresh-replica');
      const receivers = await own.database.app(
        'select from pg_stat_wal_receiver where pid is not null',
        [],
        0,
      );
      expect(receivers).toHaveLength(1);

      proxy.heal();
      await replicasFresh(service);
      expect(await servedBy()).toMatch(/^replica-1;/);
    } finally {
      await followThrough(undefined);
    }
  });
});

/** Makes the replica reach its primary by another port; undefined for its own again. */
async function followThrough(port: number | undefined): Promise<void> {
  await withConnection(String(own.cluster.replicaUrls[0]), async (client) => {
    const { rows } = await client.query<{ setting: string }>(
      `select setting from pg_settings where name = 'primary_conninfo'`,
    );
    const conninfo = String(rows[0]?.setting).replace(/port=\d+/, `port=${port}`);
    await client.query(
      port === undefined
        ? 'alter system reset primary_conninfo'
        : `alter system set primary_conninfo = '${conninfo}'`,
    );
    await client.query('select pg_reload_conf()');
    const wanted = port ?? Number(new URL(own.cluster.primaryUrl).port);
    await until(async () => {
      const receivers = await client.query(
        `select from pg_stat_wal_receiver where status = 'streaming' and sender_port = $1`,
        [wanted],
      );
      return receivers.rows.length === 1;
    }, `the replica to stream through ${wanted}`);
  });
}

describe('F7: a black hole between the service and a server', () => {
  /** The driver's own time-out, in place of its 17 s. */
  const limited = '?query_timeout=1500';

  async function withProxied(
    node: 'primary' | 'replica',
    parameters: string,
    fn: (proxied: TestTenantry, proxy: Proxy) => Promise<void>,
  ): Promise<void> {
    const variable = node === 'primary' ? 'DATABASE_URL' : 'DATABASE_REPLICA_URLS';
    const url = String(own.database.env()[variable]);
    const proxy = await proxyTo(url);
    const proxied = await startTenantry(own.database, {
      env: { [variable]: proxy.through(url) + parameters },
    });
    try {
      await replicasFresh(proxied);
      await fn(proxied, proxy);
    } finally {
      proxy.heal();
      await proxied.tenantry.stop();
    }
  }

  it('the primary: writes are refused within their time, reads go on, and all is well when it heals', async () => {
    await withProxied('primary', limited, async (proxied, proxy) => {
      const before = proxied.tenantry.data.db.nodes()[0]?.pool.tainted ?? 0;
      const traffic = await underTraffic(proxied, tenant, async ({ more }) => {
        proxy.pause();
        await Promise.all([more('write 503 unavailable', 2), more('read 200', 100)]);
        proxy.heal();
        await Promise.all([more('write 201', 20), more('read 200', 100)]);
      });
      const seen = Object.keys(traffic.answers).filter((answer) => answer.startsWith('read'));
      expect(seen).toEqual(['read 200']);
      // One time-out of a statement or of a new connection, a look at all servers, and what the machine adds.
      expect(traffic.longestMs).toBeLessThan(9000);
      expect(proxied.tenantry.data.db.nodes()[0]?.pool.tainted).toBeGreaterThan(before);
      await expectGreen(proxied, tenant);
    });
  });

  it('the replica: the reads under way are answered by the primary, and nobody is refused', async () => {
    await withProxied('replica', limited, async (proxied, proxy) => {
      const traffic = await underTraffic(proxied, tenant, async ({ more }) => {
        proxy.pause();
        await until(() => proxied.tenantry.data.db.nodes()[1]?.state === 'down', 'the loss to be seen');
        await Promise.all([more('read 200', 100), more('write 201', 20)]);
        proxy.heal();
        await replicasFresh(proxied);
      });
      expect(Object.keys(traffic.answers).toSorted()).toEqual(['own read 200', 'read 200', 'write 201']);
      expect(traffic.longestMs).toBeLessThan(9000);
      await expectGreen(proxied, tenant);
    });
  });

  it('the primary: reads do not wait for it, with limits as in production', async () => {
    const email = 'patient@network.test';
    await tenant.client.post('/v1/users').send({ email, password }).expect(201);
    await withProxied('primary', '', async (proxied, proxy) => {
      const reader = await proxied.login(tenant.slug, email, password);
      await own.cluster.caughtUp();
      await replicasFresh(proxied);
      proxy.pause();
      let slowestMs = 0;
      for (const fromMs = performance.now(); performance.now() - fromMs < 6000; ) {
        const askedMs = performance.now();
        await reader.get('/v1/products').expect(200);
        slowestMs = Math.max(slowestMs, performance.now() - askedMs);
      }
      expect(slowestMs).toBeLessThan(2000);
      proxy.heal();
      await expectGreen(proxied, tenant);
    });
  });
});
