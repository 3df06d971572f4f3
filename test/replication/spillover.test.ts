import { beforeAll, expect, it } from '@jest/globals';
import { createTestClock } from '../support/clock.ts';
import { useCluster } from '../support/own-cluster.ts';
import { replicasFresh, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

const own = useCluster({ replicas: 1 });
const clock = createTestClock();
const service = useTenantry(own.database, {
  env: { PRIMARY_SPILLOVER_RPS: '5', READ_AFTER_WRITE_WINDOW_MS: '60000', MAX_REPLICA_LAG_MS: '2000' },
  overrides: { clock },
});
const alone = useTenantry(own.database, { env: { DATABASE_REPLICA_URLS: '', PRIMARY_SPILLOVER_RPS: '0' } });

let tenant: TestTenant;
beforeAll(async () => {
  tenant = await service.onboard('spilling', 'shared');
  clock.advance(61_000); // the window of its own writes is over
  await own.cluster.caughtUp();
  await replicasFresh(service);
});

/** The answers to so many reads at once. */
async function reads(n: number, path = '/v1/products') {
  return Promise.all(Array.from({ length: n }, () => tenant.client.get(path)));
}

it('reads of a lost replica reach the primary within the budget; the rest is told to come back', async () => {
  const onReplica = await reads(10);
  expect(onReplica.map(({ status }) => status)).toEqual(Array(10).fill(200));
  expect(service.tenantry.data.db.spillover()).toEqual({ taken: 0, refused: 0 });

  await own.cluster.kill(0);
  try {
    await until(() => service.tenantry.data.db.nodes()[1]?.state === 'down', 'the replica to be given up');
    const answers = await reads(40);
    const refused = answers.filter(({ status }) => status === 503);
    const served = answers.filter(({ status }) => status === 200);
    // A second's worth, and what time brings meanwhile.
    expect(served.length).toBeGreaterThanOrEqual(5);
    expect(refused.length).toBeGreaterThan(20);
    expect(served.length + refused.length).toBe(40);
    for (const { headers, body } of refused) {
      expect(headers['retry-after']).toBe('1');
      expect(body).toMatchObject({ code: 'unavailable' });
    }
    expect(served[0]?.headers['served-by']).toBe('primary; reason=no-fresh-replica');
    expect(service.tenantry.data.db.spillover()).toEqual({ taken: served.length, refused: refused.length });

    // What belongs to the primary is not refused: strong reads, writes.
    const strong = await reads(20, '/v1/me');
    expect(strong.map(({ status }) => status)).toEqual(Array(20).fill(200));
    await tenant.client
      .post('/v1/products')
      .send({ sku: 'S', name: 'S', priceCents: 1, stock: 1 })
      .expect(201);
  } finally {
    await own.cluster.restart(0);
  }
  await replicasFresh(service);
  clock.advance(61_000);
  await replicasFresh(service);
  const after = await reads(10);
  expect(after.map(({ status }) => status)).toEqual(Array(10).fill(200));
});

it('where no replica is configured nothing is refused', async () => {
  const client = await alone.login(tenant.slug, tenant.ownerEmail, 'a password of tests');
  for (let n = 0; n < 5; n += 1) {
    const { headers } = await client.get('/v1/products').expect(200);
    expect(headers['served-by']).toBe('primary; reason=no-replica');
  }
});
