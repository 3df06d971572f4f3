import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type request from 'supertest';
import { useCluster } from '../support/own-cluster.ts';
import {
  replicasFresh,
  startTenantry,
  type TestTenant,
  type TestTenantry,
  useTenantry,
} from '../support/tenantry.ts';

/** Long enough that a paused replica is read for the length of a test by everybody who may. */
const env = { READ_AFTER_WRITE_WINDOW_MS: '60000', MAX_REPLICA_LAG_MS: '60000' };

const own = useCluster({ replicas: 1 });
const here = useTenantry(own.database, { env });
let there: TestTenantry;
let tenant: TestTenant;

beforeAll(async () => {
  there = await startTenantry(own.database, { env });
  tenant = await here.onboard('hops', 'shared');
  await own.cluster.caughtUp();
  await replicasFresh(here);
  await replicasFresh(there);
});
afterAll(() => there?.tenantry.stop());

it('a read that brings a token gives one back, with which another process shows nothing older', async () => {
  const asked = (path: string, agent: request.Agent) =>
    agent.get(path).auth(tenant.token, { type: 'bearer' }).expect(200);
  const first = await tenant.client.post('/v1/products').send(product('T-1')).expect(201);
  const early = String(first.headers['consistency-token']);
  await own.cluster.caughtUp();
  const withoutToken = await asked('/v1/products', here.api());
  expect(withoutToken.headers).not.toHaveProperty('consistency-token');

  await own.cluster.pauseReplay(0, async () => {
    const second = await tenant.client.post('/v1/products').send(product('T-2')).expect(201);
    const path = `/v1/products/${(second.body as { id: string }).id}`;
    const seen = await asked(path, here.api().set('Consistency-Token', early));
    const late = String(seen.headers['consistency-token']);
    expect(late).not.toBe(early);
    // The other process knows nothing of this actor: only the token tells it.
    await there.api().get(path).auth(tenant.token, { type: 'bearer' }).expect(404);
    const again = await asked(path, there.api().set('Consistency-Token', late));
    expect(again.headers['served-by']).toMatch(/^primary/);
  });
});

const product = (sku: string) => ({ sku, name: sku, priceCents: 1, stock: 1 });

interface Page {
  data: { sku: string }[];
  page: { next: string; prev: string };
}

const pageOf = async (service: TestTenantry, path: string, level: string) => {
  const { body, headers } = await service
    .api()
    .get(path)
    .auth(tenant.token, { type: 'bearer' })
    .set('Read-Consistency', level)
    .expect(200);
  return { ...(body as Page), servedBy: String(headers['served-by']) };
};

it.each(['session', 'bounded; ms=60000', 'any'])(
  'the next page is not older than the one before, whichever process is asked: %s',
  async (level) => {
    const path = '/v1/products?limit=1&sort=sku';
    await own.cluster.pauseReplay(0, async () => {
      for (const n of [1, 2, 3]) {
        await tenant.client
          .post('/v1/products')
          .send(product(`${level}-${n}`))
          .expect(201);
      }
      const query = `${path}&filter[sku][prefix]=${encodeURIComponent(level)}`;
      const first = await pageOf(here, query, 'session');
      expect(first.data).toMatchObject([{ sku: `${level}-1` }]);
      // Without a cursor the other process, which knows nothing of this actor, asks its replica.
      expect((await pageOf(there, query, level)).servedBy).toMatch(/^replica-1/);
      const second = await pageOf(there, `${query}&cursor=${first.page.next}`, level);
      expect(second.servedBy).toMatch(/^primary/);
      expect(second.data).toMatchObject([{ sku: `${level}-2` }]);
      const back = await pageOf(there, `${query}&cursor=${second.page.prev}`, level);
      expect(back.servedBy).toMatch(/^primary/);
      expect(back.data).toMatchObject([{ sku: `${level}-1` }]);
    });
    await own.cluster.caughtUp();
  },
);
