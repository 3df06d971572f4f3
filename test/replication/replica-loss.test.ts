import { beforeAll, describe, expect, it, jest } from '@jest/globals';
import { clientWithToken, onPort } from '../support/http.ts';
import { useCluster } from '../support/own-cluster.ts';
import {
  replicasFresh,
  startTenantry,
  type TestTenant,
  type TestTenantry,
  useTenantry,
} from '../support/tenantry.ts';
import { until } from '../support/until.ts';

jest.setTimeout(60_000);

const own = useCluster({ replicas: 2 });
const service = useTenantry(own.database);

/** As the service, with the first replica only. */
const withOneReplica = () => ({
  DATABASE_REPLICA_URLS: String(own.database.env()['DATABASE_REPLICA_URLS']).split(',')[0] ?? '',
});

interface Load {
  /** Reads answered so far. */
  total(): number;
  /** Of them, the newest one's `Served-By`. */
  last(): string;
  /** How often a read was answered with anything but 200, by the answer. */
  failed: Record<string, number>;
}

/** 20 actors that read as fast as they can, over HTTP, for the length of `fn`. */
async function underLoad(of: TestTenantry, token: string, fn: (load: Load) => Promise<void>): Promise<Load> {
  const over = new AbortController();
  let total = 0;
  let last = '';
  const load: Load = { total: () => total, last: () => last, failed: {} };
  await onPort(of.tenantry.tenantApp, async (baseUrl) => {
    const client = clientWithToken(baseUrl, token);
    const reading = Array.from({ length: 20 }, async () => {
      while (!over.signal.aborted) {
        const { status, servedBy, body } = await client.get('/v1/products?limit=5');
        total += 1;
        last = servedBy;
        if (status !== 200) {
          const answer = `${status} ${String(body['code'])} ${servedBy}`;
          load.failed[answer] = (load.failed[answer] ?? 0) + 1;
        }
      }
    });
    try {
      await fn(load);
    } finally {
      over.abort();
      await Promise.all(reading);
    }
  });
  return load;
}

async function more({ total }: Load, reads: number): Promise<void> {
  const goal = total() + reads;
  await until(() => total() >= goal, `${reads} more reads`, 20_000);
}

const servedBy = (load: Load, start: string) =>
  until(() => load.last().startsWith(start), `reads from ${start}`, 20_000);

describe('a replica that is killed under load', () => {
  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await service.onboard('lossy', 'schema');
    await own.cluster.caughtUp();
  });

  it('fails no read: the primary takes over until the replica is back, which is then used again', async () => {
    const single = await startTenantry(own.database, { env: withOneReplica() });
    try {
      await replicasFresh(single);
      const load = await underLoad(single, tenant.token, async (load) => {
        await servedBy(load, 'replica-1; ');
        await more(load, 300);
        await own.cluster.kill(0);
        await servedBy(load, 'primary; reason=');
        await more(load, 1000);
        await own.cluster.restart(0);
        await servedBy(load, 'replica-1; ');
        await more(load, 300);
      });
      expect(load.failed).toEqual({});
      expect(load.total()).toBeGreaterThan(1600);
    } finally {
      await single.tenantry.stop();
    }
  });

  it('fails no read: the other replica takes over', async () => {
    await replicasFresh(service);
    const load = await underLoad(service, tenant.token, async (load) => {
      await more(load, 300);
      await own.cluster.kill(0);
      await until(() => service.tenantry.data.db.nodes()[1]?.state === 'down', 'the loss to be seen');
      await servedBy(load, 'replica-2; ');
      await more(load, 500);
      await own.cluster.kill(1);
      await servedBy(load, 'primary; reason=');
      await own.cluster.restart(0);
      await own.cluster.restart(1);
      await servedBy(load, 'replica-');
    });
    expect(load.failed).toEqual({});
  });
});

describe('without a replica', () => {
  it('a service starts, is ready but degraded, and takes the replica into use when it comes', async () => {
    await own.cluster.kill(0);
    try {
      const single = await startTenantry(own.database, { env: withOneReplica() });
      try {
        const tenant = await single.onboard('alone', 'shared');
        const read = () => tenant.client.get('/v1/products').expect(200);
        expect((await read()).headers['served-by']).toBe('primary; reason=no-fresh-replica');
        const ready = await single.api().get('/readyz').expect(200);
        expect(ready.body).toEqual({ status: 'degraded', nodes: { primary: 'fresh', 'replica-1': 'down' } });

        await own.cluster.restart(0);
        await replicasFresh(single);
        expect((await read()).headers['served-by']).toMatch(/^replica-1; reason=(fresh|caught-up)/);
        await single
          .api()
          .get('/readyz')
          .expect(200, { status: 'ok', nodes: { primary: 'fresh', 'replica-1': 'fresh' } });
      } finally {
        await single.tenantry.stop();
      }
    } finally {
      await own.cluster.restart(0);
    }
  });

  it('that is configured at all, reads are answered by the primary, which says so', async () => {
    const none = await startTenantry(own.database, { env: { DATABASE_REPLICA_URLS: '' } });
    try {
      const tenant = await none.onboard('single', 'schema');
      const { headers } = await tenant.client.get('/v1/products').expect(200);
      expect(headers['served-by']).toBe('primary; reason=no-replica');
    } finally {
      await none.tenantry.stop();
    }
  });
});
