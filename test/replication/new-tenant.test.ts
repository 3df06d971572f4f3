import { expect, it } from '@jest/globals';
import { useCluster } from '../support/own-cluster.ts';
import { password, replicasFresh, useTenantry } from '../support/tenantry.ts';

const own = useCluster({ replicas: 1 });
/** A replica that is paused stays in use for a minute. */
const service = useTenantry(own.database, {
  env: { READ_AFTER_WRITE_WINDOW_MS: '60000', MAX_REPLICA_LAG_MS: '60000' },
});

it('a new tenant with a schema of its own works at once, though the replica does not have the schema yet', async () => {
  await own.cluster.caughtUp();
  await replicasFresh(service);
  await own.cluster.pauseReplay(0, async () => {
    const tenant = await service.onboard('newborn', 'schema');
    const empty = await tenant.client.get('/v1/products').expect(200);
    expect(empty.body).toMatchObject({ data: [] });
    expect(empty.headers['served-by']).toBe('primary; reason=replica-failed');
    await tenant.client.get('/v1/orders?include=lines').expect(200);

    const { body } = await tenant.client
      .post('/v1/products')
      .send({ sku: 'A-1', name: 'Saw', priceCents: 100, stock: 1 })
      .expect(201);
    await tenant.client.get(`/v1/products/${(body as { id: string }).id}`).expect(200);
    const email = 'second@newborn.test';
    await tenant.client.post('/v1/users').send({ email, password }).expect(201);
    const second = await service.login(tenant.slug, email, password);
    await second.get('/v1/me').expect(200);
    await second.get('/v1/products').expect(200);
  });
  const lost = service.tenantry.data.db.nodes().filter(({ state }) => state === 'down');
  expect(lost).toEqual([]);
});

it('a new tenant with rows in the shared schema works at once', async () => {
  await own.cluster.caughtUp();
  await replicasFresh(service);
  await own.cluster.pauseReplay(0, async () => {
    const tenant = await service.onboard('newcomer', 'shared');
    await tenant.client.get('/v1/me').expect(200);
    const empty = await tenant.client.get('/v1/products').expect(200);
    expect(empty.headers['served-by']).toMatch(/^replica-1; reason=fresh/);
  });
});
