import { describe, expect, it, jest } from '@jest/globals';
import { useCluster } from '../support/own-cluster.ts';
import { replicasFresh, startTenantry, type TestTenantry, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

jest.setTimeout(90_000);

const own = useCluster({ replicas: 1 });
const service = useTenantry(own.database);

/** Nothing here answers or refuses, so only time-outs help; none of them is longer than this. */
const longestTimeoutMs = 20_000;

const stateOf = ({ tenantry }: TestTenantry) => tenantry.data.db.nodes()[1]?.state;

describe('a replica that is frozen', () => {
  it('before the start delays it by a time-out; reads are on the primary', async () => {
    const tenant = await service.onboard('frozen_early', 'shared');
    await own.cluster.freeze(0);
    try {
      const late = await startTenantry(own.database);
      try {
        expect(stateOf(late)).toBe('down');
        const client = await late.login(tenant.slug, tenant.ownerEmail, 'a password of tests');
        const { headers } = await client.get('/v1/products').expect(200);
        expect(headers['served-by']).toBe('primary; reason=no-fresh-replica');
      } finally {
        await late.tenantry.stop();
      }
    } finally {
      await own.cluster.thaw(0);
    }
  });

  it('with all its connections is given up, reads under way included, and used again when it thaws', async () => {
    const tenant = await service.onboard('frozen', 'schema');
    await own.cluster.caughtUp();
    await replicasFresh(service);
    const read = async () => {
      const { headers } = await tenant.client.get('/v1/products').expect(200);
      return String(headers['served-by']);
    };
    expect(await read()).toMatch(/^replica-1/);

    const backends = await backendsOfReplica();
    expect(backends.length).toBeGreaterThan(0);
    const signalAll = (signal: NodeJS.Signals) => {
      for (const pid of backends) process.kill(pid, signal);
    };
    await own.cluster.freeze(0);
    signalAll('SIGSTOP');
    try {
      const underWay = Promise.all([read(), read(), read()]);
      await until(() => stateOf(service) === 'down', 'the replica to be given up');
      expect(await read()).toBe('primary; reason=no-fresh-replica');
      const startedMs = performance.now();
      for (const servedBy of await underWay)
        expect(servedBy).toMatch(/^primary; reason=(replica-failed|no-fresh-replica)$/);
      expect(performance.now() - startedMs).toBeLessThan(longestTimeoutMs);
    } finally {
      signalAll('SIGCONT');
      await own.cluster.thaw(0);
    }
    await replicasFresh(service);
    expect(await read()).toMatch(/^replica-1; reason=(fresh|caught-up)/);
  });
});

/** Pids of the connections of the service. */
async function backendsOfReplica(): Promise<number[]> {
  const rows = await own.database.app<{ pid: number }>(
    `select pid from pg_stat_activity where application_name = 'tenantry' and pid <> pg_backend_pid()`,
    [],
    0,
  );
  return rows.map(({ pid }) => pid);
}
