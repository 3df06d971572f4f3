import { beforeAll, describe, expect, it } from '@jest/globals';
import { useCluster } from '../support/own-cluster.ts';
import {
  replicasFresh,
  startTenantry,
  type TestTenant,
  type TestTenantry,
  useTenantry,
} from '../support/tenantry.ts';
import { until } from '../support/until.ts';

const own = useCluster({ replicas: 1 });
const service = useTenantry(own.database, { env: { MAX_REPLICA_LAG_MS: '1000' } });

function replicaOf({ tenantry }: Pick<TestTenantry, 'tenantry'>) {
  const node = tenantry.data.db.nodes().find(({ role }) => role === 'replica');
  if (node === undefined) throw new Error('There is no replica');
  return node;
}

const replicaIs = (state: string) =>
  until(() => replicaOf(service).state === state, `the replica to be ${state}`);

/** Moves the primary's position; a lag shows only where something is written. */
const write = () => own.database.superuser(`select pg_logical_emit_message(true, 'test', 'a write')`);

async function whileWriting(condition: () => boolean, what: string): Promise<void> {
  await until(async () => {
    await write();
    return condition();
  }, what);
}

describe('a replica', () => {
  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await service.onboard('lag', 'schema');
    await own.cluster.caughtUp();
  });

  async function servedBy(): Promise<string> {
    const { headers } = await tenant.client.get('/v1/products').expect(200);
    return String(headers['served-by']);
  }

  it('that is paused is read until MAX_REPLICA_LAG_MS, then no more, and again when it has caught up', async () => {
    await replicasFresh(service);
    await own.cluster.pauseReplay(0, async () => {
      expect(await servedBy()).toMatch(/^replica-1; reason=(fresh|caught-up)/);
      await write();
      await replicaIs('stale');
      expect(await servedBy()).toBe('primary; reason=no-fresh-replica');
      const { lagMs, lagBytes } = replicaOf(service);
      expect(lagMs).toBeGreaterThan(1000);
      expect(lagBytes).toBeGreaterThan(0);
    });
    await replicaIs('fresh');
    expect(await servedBy()).toMatch(/^replica-1; reason=(fresh|caught-up)/);
  });

  it('that is cut off is not read, although it takes reads and has replayed all that it received', async () => {
    await replicasFresh(service);
    await own.cluster.cutOff(0, async () => {
      await replicaIs('unknown');
      await write();
      expect(await servedBy()).toBe('primary; reason=no-fresh-replica');
      expect(await own.database.app('select 1 as one', [], 0)).toEqual([{ one: 1 }]);
    });
    await replicaIs('fresh');
    expect(await servedBy()).toMatch(/^replica-1; reason=(fresh|caught-up)/);
  });

  it('of an idle primary stays fresh for longer than MAX_REPLICA_LAG_MS', async () => {
    await replicasFresh(service);
    const startedMs = performance.now();
    const seen = new Set<string>();
    await until(() => {
      seen.add(replicaOf(service).state);
      return performance.now() - startedMs > 2500;
    });
    expect(seen).not.toContain('stale');
    await until(() => replicaOf(service).lagMs === 0, 'the lag to be 0');
  });

  it('that applies late is as far behind as it says', async () => {
    const env = { MAX_REPLICA_LAG_MS: '5000' };
    const patient = await startTenantry(own.database, { env });
    try {
      await replicasFresh(patient);
      const lagMs = () => replicaOf(patient).lagMs ?? 0;
      await own.cluster.delayApply(0, 1500, async () => {
        await whileWriting(() => lagMs() > 1000, 'a lag of more than 1000 ms');
        const lags: number[] = [];
        await whileWriting(() => lags.push(lagMs()) === 100, '100 samples');
        // 1500 ms, two intervals of probing, and what the machine adds.
        expect(Math.min(...lags)).toBeGreaterThan(900);
        expect(Math.max(...lags)).toBeLessThan(4000);
        expect(replicaOf(patient).state).toBe('fresh');
      });
      await whileWriting(() => lagMs() < 1000, 'the lag to go');
    } finally {
      await patient.tenantry.stop();
    }
  });

  it('is told of in the cluster view, with its lag and position', async () => {
    await replicasFresh(service);
    const { body } = await service.operator().get('/admin/v1/cluster').expect(200);
    expect(body).toMatchObject({
      nodes: [
        { name: 'primary', role: 'primary', state: 'fresh', lagMs: null, lagBytes: null },
        {
          name: 'replica-1',
          role: 'replica',
          state: 'fresh',
          lagMs: expect.any(Number),
          lagBytes: expect.any(Number),
          lsn: expect.stringMatching(/^[0-9A-F]+\/[0-9A-F]+$/),
        },
      ],
    });
  });
});
