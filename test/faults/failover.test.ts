import { beforeAll, expect, it, jest } from '@jest/globals';
import { useCluster } from '../support/own-cluster.ts';
import { withConnection } from '../support/connection.ts';
import { replicasFresh, startTenantry, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { underTraffic } from '../support/traffic.ts';
import { until } from '../support/until.ts';

jest.setTimeout(90_000);

/** The tests of this file are one story, in order: a failover cannot be taken back. */
const own = useCluster({ replicas: 1 });
const service = useTenantry(own.database);

let tenant: TestTenant;
beforeAll(async () => {
  tenant = await service.onboard('failover', 'schema');
  await own.cluster.caughtUp();
  await replicasFresh(service);
});

const newPrimary = () => {
  const [oldNode, newNode] = service.tenantry.data.db.nodes();
  return { oldNode, newNode };
};

it('F17: a service whose addresses are the wrong way round finds the primary, and writes there', async () => {
  const env = own.database.env();
  const swapped = await startTenantry(own.database, {
    env: {
      DATABASE_URL: env['DATABASE_REPLICA_URLS'] ?? '',
      DATABASE_REPLICA_URLS: env['DATABASE_URL'] ?? '',
    },
  });
  try {
    await replicasFresh(swapped);
    const client = await swapped.login(tenant.slug, tenant.ownerEmail, 'a password of tests');
    const body = { sku: 'swapped', name: 'x', priceCents: 1, stock: 1 };
    const { headers } = await client.post('/v1/products').send(body).expect(201);
    expect(headers['served-by']).toBe('primary; reason=write');
    expect(swapped.tenantry.data.db.nodes().map(({ role }) => role)).toEqual(['replica', 'primary']);
  } finally {
    await swapped.tenantry.stop();
  }
});

it('F17: on a replica neither a row can be locked nor a temporary table be made', async () => {
  await replicasFresh(service);
  const served: string[] = [];
  const consistency = {
    level: { kind: 'any' as const },
    served: ({ role }: { role: string }) => void served.push(role),
  };
  const scope = { ...tenant.scope, consistency };
  for (const text of ['select id from products for update', 'create temp table t (n int)']) {
    await expect(
      service.tenantry.data.db.read(scope, (session) => session.query(text)),
    ).rejects.toMatchObject({ cause: { code: '25006' } });
  }
  expect(served).toEqual(['replica', 'replica']);
});

it('F18: the primary dies and the replica is promoted: the service goes on by itself, and nothing acknowledged is lost', async () => {
  // Writes are acknowledged when the replica has them; otherwise a failover may lose the last few.
  await own.database.superuser(`alter system set synchronous_standby_names = '*'`);
  await own.database.superuser('select pg_reload_conf()');
  let promotedMs = 0;
  let writtenMs = 0;
  const traffic = await underTraffic(service, tenant, async ({ more }) => {
    await own.cluster.kill('primary');
    await Promise.all([more('write 503 unavailable', 10), more('read 200', 100)]);
    const written = more('write 201', 1).then(() => {
      writtenMs = performance.now();
    });
    await own.cluster.promote(0);
    promotedMs = performance.now();
    await written;
    await Promise.all([more('write 201', 20), more('read 200', 100)]);
  });
  const seen = Object.keys(traffic.answers);
  const allowed = ['own read 200', 'own read 503 unavailable', 'read 200', 'write 201'];
  expect([...allowed, 'write 503 unavailable']).toEqual(expect.arrayContaining(seen));
  expect(writtenMs - promotedMs).toBeLessThan(1000);
  expect(traffic.longestMs).toBeLessThan(5000);
  expect(newPrimary()).toMatchObject({
    oldNode: { role: 'replica', state: 'down' },
    newNode: { name: 'primary', role: 'primary', state: 'fresh', timeline: 2 },
  });
  await service.api().get('/readyz').expect(200);
});

it('F19: the old primary returns: it gets no writes and no reads, and is shown as not usable', async () => {
  await own.cluster.restart('primary');
  await until(() => newPrimary().oldNode?.state === 'unknown', 'the old primary to be seen');
  const onOld = <T extends object>(text: string) =>
    withConnection(own.database.superuserUrl(), async (client) => (await client.query<T>(text)).rows);
  await onOld(`alter system reset synchronous_standby_names`);
  await onOld('select pg_reload_conf()');
  // It takes itself for the primary, and would take writes.
  await onOld('create table public.proof ()');

  const before = await onOld('select id from tenant_failover.products');
  const nodes = new Set<string>();
  for (let round = 0; round < 50; round += 1) {
    const body = { sku: `after-${round}`, name: 'x', priceCents: 1, stock: 1 };
    const { headers } = await tenant.client.post('/v1/products').send(body).expect(201);
    nodes.add(String(headers['served-by']));
    const read = await tenant.client.get('/v1/products').set('Read-Consistency', 'any').expect(200);
    nodes.add(String(read.headers['served-by']).split(';')[0] ?? '');
  }
  expect([...nodes].toSorted()).toEqual(['primary', 'primary; reason=write']);
  expect(await onOld('select id from tenant_failover.products')).toEqual(before);
  expect(newPrimary()).toMatchObject({
    oldNode: { role: 'replica', state: 'unknown' },
    newNode: { role: 'primary', timeline: 2 },
  });
});

it('F19: a service that starts when both take themselves for the primary chooses the one of the newer timeline', async () => {
  const late = await startTenantry(own.database);
  try {
    const client = await late.login(tenant.slug, tenant.ownerEmail, 'a password of tests');
    const made = { sku: 'late', name: 'x', priceCents: 1, stock: 1 };
    const { body } = await client.post('/v1/products').send(made).expect(201);
    const found = await withConnection(own.database.superuserUrl(), (old) =>
      old.query(`select from tenant_failover.products where sku = 'late'`),
    );
    expect(found.rows).toEqual([]);
    await tenant.client.get(`/v1/products/${(body as { id: string }).id}`).expect(200);
  } finally {
    await late.tenantry.stop();
  }
});
