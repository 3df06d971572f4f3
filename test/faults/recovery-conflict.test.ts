import { beforeAll, describe, expect, it, jest } from '@jest/globals';
import type { Decision } from '../../src/db/index.ts';
import { withConnection } from '../support/connection.ts';
import { useCluster } from '../support/own-cluster.ts';
import { replicasFresh, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { expectGreen, underTraffic } from '../support/traffic.ts';
import { until } from '../support/until.ts';

jest.setTimeout(60_000);

const own = useCluster({ replicas: 1 });
const service = useTenantry(own.database);

let tenant: TestTenant;
beforeAll(async () => {
  tenant = await service.onboard('conflict', 'schema');
  const product = { sku: 'kept', name: 'x', priceCents: 1, stock: 1 };
  await tenant.client.post('/v1/products').send(product).expect(201);
  await withConnection(String(own.cluster.replicaUrls[0]), async (replica) => {
    await replica.query(`alter system set max_standby_streaming_delay = '100ms'`);
    await replica.query('alter system set hot_standby_feedback = off');
    await replica.query('select pg_reload_conf()');
  });
  await own.cluster.caughtUp();
  await replicasFresh(service);
});

/** Makes a row that no snapshot needs any more, and tells the replica that it is gone. */
async function vacuum(): Promise<void> {
  await own.database.superuser(`
    insert into tenant_conflict.products (tenant_id, id, sku, name, price_cents, currency, stock)
      values ('${tenant.id}', gen_random_uuid(), 'dead', 'x', 1, 'USD', 1)`);
  await own.database.superuser(`delete from tenant_conflict.products where sku = 'dead'`);
  await own.database.superuser('vacuum tenant_conflict.products');
}

/** Replayed as well, while the transaction lasts. */
const lock = () =>
  own.database.superuser('begin; lock table tenant_conflict.products in access exclusive mode; commit');

describe('F16: a read that is in the way of replay', () => {
  it.each([
    ['of a vacuum', vacuum],
    ['of an exclusive lock', lock],
  ])('%s is cancelled there and answered by the primary', async (_, conflicting) => {
    // What the test before has left to be replayed would be in the way of this one's read.
    await own.cluster.caughtUp();
    await replicasFresh(service);
    const decisions: Decision[] = [];
    const consistency = {
      level: { kind: 'any' as const },
      served: (decision: Decision) => void decisions.push(decision),
    };
    // Slow on a replica only, and with a look at the table that takes a lock and a snapshot.
    const reading = service.tenantry.data.db.read({ ...tenant.scope, consistency }, (session) =>
      session.query(`select sku from products
        where pg_is_in_recovery() is false or (select pg_sleep(20)) is not null`),
    );
    await until(async () => {
      const rows = await own.database.app(`select from pg_stat_activity where wait_event = 'PgSleep'`, [], 0);
      return rows.length > 0;
    }, 'the read to be under way');
    const startedMs = performance.now();
    await conflicting();
    expect(await reading).toEqual([{ sku: 'kept' }]);
    expect(performance.now() - startedMs).toBeLessThan(8000);
    expect(decisions.map(({ node, reason }) => `${node} ${reason}`)).toEqual([
      'replica-1 any',
      'primary replica-failed',
    ]);
    // The replica itself is well.
    expect(service.tenantry.data.db.nodes()[1]?.state).not.toBe('down');
  });

  it('again and again, under load: no read fails', async () => {
    await replicasFresh(service);
    const traffic = await underTraffic(service, tenant, async ({ more }) => {
      for (let round = 0; round < 5; round += 1) {
        await Promise.all([vacuum(), more('read 200', 20)]);
        await lock();
      }
    });
    expect(Object.keys(traffic.answers).toSorted()).toEqual(['own read 200', 'read 200', 'write 201']);
    expect(traffic.longestMs).toBeLessThan(5000);
    await expectGreen(service, tenant);
  });
});
