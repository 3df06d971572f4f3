import { afterAll, beforeAll, expect, it } from '@jest/globals';
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
  tenant = await here.onboard('pages', 'shared');
  await own.cluster.caughtUp();
  await replicasFresh(here);
  await replicasFresh(there);
});
afterAll(() => there?.tenantry.stop());

interface Page {
  data: { sku: string }[];
  page: { next: string; prev: string };
}

const get = async (service: TestTenantry, path: string, level: string) => {
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
        const body = { sku: `${level}-${n}`, name: 'Page', priceCents: 1, stock: 1 };
        await tenant.client.post('/v1/products').send(body).expect(201);
      }
      const query = `${path}&filter[sku][prefix]=${encodeURIComponent(level)}`;
      const first = await get(here, query, 'session');
      expect(first.data).toMatchObject([{ sku: `${level}-1` }]);
      // Without a cursor the other process, which knows nothing of this actor, asks its replica.
      expect((await get(there, query, level)).servedBy).toMatch(/^replica-1/);
      const second = await get(there, `${query}&cursor=${first.page.next}`, level);
      expect(second.servedBy).toMatch(/^primary/);
      expect(second.data).toMatchObject([{ sku: `${level}-2` }]);
      const back = await get(there, `${query}&cursor=${second.page.prev}`, level);
      expect(back.servedBy).toMatch(/^primary/);
      expect(back.data).toMatchObject([{ sku: `${level}-1` }]);
    });
    await own.cluster.caughtUp();
  },
);
