import { afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import type request from 'supertest';
import { useCluster } from '../support/own-cluster.ts';
import { password, replicasFresh, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

jest.setTimeout(60_000);

const own = useCluster({ replicas: 1 });
const service = useTenantry(own.database);

describe.each(['shared', 'schema'] as const)('while the primary is dead, isolation %s', (isolation) => {
  let tenant: TestTenant;
  /** Has not written within the window. */
  let reader: request.Agent;

  beforeAll(async () => {
    tenant = await service.onboard(`bereft_${isolation}`, isolation);
    const email = 'reader@bereft.test';
    await tenant.client.post('/v1/users').send({ email, password }).expect(201);
    await insert('A-1').expect(201);
    reader = await service.login(tenant.slug, email, password);
    await own.cluster.caughtUp();
    await replicasFresh(service);
  });
  afterEach(() => own.cluster.restart('primary'));

  /** What the primary has inserted into its log, whether flushed or not, is on the replica's disk. */
  async function received(): Promise<boolean> {
    const [row] = await own.database.superuser<{ all: boolean }>(
      'select bool_and(flush_lsn >= pg_current_wal_insert_lsn()) as all from pg_stat_replication',
    );
    return row?.all === true;
  }

  const insert = (sku: string) =>
    tenant.client.post('/v1/products').send({ sku, name: sku, priceCents: 1, stock: 1 });

  it('reads without a recent write go on, from the first moment on, and writes are asked to come again', async () => {
    const over = new AbortController();
    const answers = new Map<string, number>();
    const reading = Array.from({ length: 4 }, async () => {
      while (!over.signal.aborted) {
        const { status, body } = await reader.get('/v1/products');
        const { data, code } = body as { data?: unknown[]; code?: string };
        const answer = `${status} ${code ?? data?.length}`;
        answers.set(answer, (answers.get(answer) ?? 0) + 1);
      }
    });
    try {
      await own.cluster.kill('primary');

      const refused = await insert('A-2').expect(503);
      expect(refused.headers['retry-after']).toBe('1');
      expect(refused.body).toMatchObject({ code: 'unavailable', status: 503 });

      await until(() => service.tenantry.data.db.nodes()[0]?.state === 'down', 'the loss to be seen');
      // The tenant's directory entry has been forgotten by then, and is found again on the replica.
      const goal = (answers.get('200 1') ?? 0) + 500;
      await until(() => (answers.get('200 1') ?? 0) >= goal, '500 more reads');
    } finally {
      over.abort();
      await Promise.all(reading);
    }
    expect(Object.fromEntries(answers)).toEqual({ '200 1': expect.any(Number) });
    expect((await reader.get('/v1/products').expect(200)).headers['served-by']).toMatch(
      /^replica-1; reason=(fresh|caught-up)/,
    );
  });

  it('reads go on of one whose last was on the primary, while that had not flushed all of its log', async () => {
    await own.cluster.pauseReplay(0, async () => {
      await own.database.superuser(`select pg_logical_emit_message(true, 'history', 'goes on')`);
      const onPrimary = async () =>
        String((await reader.get('/v1/products').expect(200)).headers['served-by']).startsWith('primary');
      await until(onPrimary, 'the replica to be left out');
      // Half a page of a record that no commit follows: what has been flushed of it, no replica can replay.
      await own.database.superuser(`select pg_logical_emit_message(false, 'unflushed', repeat('x', 12000))`);
      expect(await onPrimary()).toBe(true);
      // Had it died at once, the end of the record would have died with it.
      await until(received, 'the replica to have received all of it');
      await own.cluster.kill('primary');
    });
    await until(() => service.tenantry.data.db.nodes()[0]?.state === 'down', 'the loss to be seen');
    const readable = async () => (await reader.get('/v1/products')).status === 200;
    await until(readable, 'a read to be answered');
  });

  it('a read of one who has just written is refused rather than answered with the past', async () => {
    await own.cluster.caughtUp();
    await own.cluster.pauseReplay(0, async () => {
      await insert('B-1').expect(201);
      await until(received, 'the replica to have received the write');
      await own.cluster.kill('primary');
      const refused = await tenant.client.get('/v1/products').expect(503);
      expect(refused.headers['retry-after']).toBe('1');
    });
    // What has reached the replica is there again: it is proven to have it.
    await until(
      async () => (await tenant.client.get('/v1/products?filter[sku]=B-1')).status === 200,
      'the replica to answer for the write it has',
    );
  });

  it('the service is alive and not ready; when the primary is back it writes again, without a restart', async () => {
    await own.cluster.kill('primary');
    await until(() => service.tenantry.data.db.nodes()[0]?.state === 'down', 'the loss to be seen');
    await service.api().get('/livez').expect(200);
    const unready = await service.api().get('/readyz').expect(503);
    expect(unready.body).toMatchObject({ status: 'unavailable', nodes: { primary: 'down' } });
    await service
      .api()
      .post('/v1/auth/login')
      .set('X-Tenant-ID', tenant.slug)
      .send({ email: tenant.ownerEmail, password })
      .expect(503);
    await service
      .operator()
      .post('/admin/v1/tenants')
      .send({ slug: 'unborn', name: 'x', isolation, owner: { email: 'o@unborn.test', password } })
      .expect(503);

    await own.cluster.restart('primary');
    await until(async () => (await insert('C-1')).status === 201, 'a write to succeed');
    await replicasFresh(service);
    await service.api().get('/readyz').expect(200);
    await service.operator().get('/admin/v1/tenants/unborn').expect(404);
    await service.login(tenant.slug, tenant.ownerEmail, password);
  });
});

it('a service does not start while the primary is dead, and says so', async () => {
  await own.cluster.kill('primary');
  try {
    const { build } = await import('../../src/build.ts');
    const { testConfig } = await import('../support/tenantry.ts');
    const tenantry = build(testConfig(own.database));
    await expect(tenantry.start()).rejects.toMatchObject({ code: 'unavailable' });
    await tenantry.stop();
  } finally {
    await own.cluster.restart('primary');
  }
});
