import { expect, it } from '@jest/globals';
import { createTestClock } from '../support/clock.ts';
import { useCluster } from '../support/own-cluster.ts';
import { replicasFresh, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

const own = useCluster({ replicas: 1 });
const clock = createTestClock();
const service = useTenantry(own.database, {
  env: { READ_AFTER_WRITE_WINDOW_MS: '5000' },
  overrides: { clock },
});

it('a primary that is lost for longer than the window makes nobody miss a write that no replica has', async () => {
  const { client } = await service.onboard('standstill', 'shared');
  await own.cluster.caughtUp();
  await replicasFresh(service);
  await own.cluster.pauseReplay(0, async () => {
    await client.post('/v1/products').send({ sku: 'S-1', name: 'x', priceCents: 1, stock: 1 }).expect(201);
    await own.cluster.kill('primary');
    await until(() => service.tenantry.data.db.nodes()[0]?.state === 'down', 'the loss to be seen');
    clock.advance(6000);
    await client.get('/v1/products').expect(503);
  });
  await own.cluster.restart('primary');
  await until(async () => (await client.get('/v1/products')).status === 200, 'the primary to be back');
  const { body } = await client.get('/v1/products').expect(200);
  expect((body as { data: unknown[] }).data).toHaveLength(1);
});
