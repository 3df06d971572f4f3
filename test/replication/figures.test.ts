import { beforeAll, describe, expect, it } from '@jest/globals';
import { type Figures, readFigures } from '../support/exposition.ts';
import { useCluster } from '../support/own-cluster.ts';
import { replicasFresh, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

const own = useCluster({ replicas: 1 });
const service = useTenantry(own.database, { env: { MAX_REPLICA_LAG_MS: '1000' } });
const replica = { node: 'replica-1' };

async function figures(): Promise<Figures> {
  return readFigures((await service.admin().get('/metrics').expect(200)).text);
}

describe('the figures of a replica', () => {
  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await service.onboard('figures', 'schema');
    await own.cluster.caughtUp();
    await replicasFresh(service);
  });

  let made = 0;
  async function writeAndRead(): Promise<void> {
    made += 1;
    const product = { sku: `F-${made}`, name: 'F', priceCents: 1, stock: 1 };
    await tenant.client.post('/v1/products').send(product).expect(201);
    await tenant.client.get('/v1/products').expect(200);
  }

  /** Until a read after a write has come while the replica passed for level, which ends with the next probe. */
  const checked = (result: 'held' | 'behind', above: number) =>
    until(async () => {
      await writeAndRead();
      return (await figures()).sum('tenantry_position_checks_total', { ...replica, result }) > above;
    }, `a check that says ${result}`);

  it('tell whether it had what its readers had written', async () => {
    await checked('held', 0);
    const before = await figures();
    const held = (of: Figures) => of.sum('tenantry_position_checks_total', { ...replica, result: 'held' });
    const behind = { remedy: 'behind' };
    await own.cluster.pauseReplay(0, async () => {
      await checked('behind', before.sum('tenantry_position_checks_total', { ...replica, result: 'behind' }));
      const after = await figures();
      expect(after.sum('tenantry_retries_total', behind)).toBeGreaterThan(
        before.sum('tenantry_retries_total', behind),
      );
      expect(after.sum('tenantry_reads_total', { node: 'primary', reason: 'behind' })).toBeGreaterThan(
        before.sum('tenantry_reads_total', { node: 'primary', reason: 'behind' }),
      );
      expect(held(after)).toBe(held(before));
    });
    await replicasFresh(service);
  });

  it('tell how far it is behind and what is thought of it, as does the cluster for operators', async () => {
    const state = async (name: string) =>
      (await figures()).sum('tenantry_node_state', { ...replica, state: name });
    expect(await state('fresh')).toBe(1);
    await own.cluster.pauseReplay(0, async () => {
      await until(async () => {
        await writeAndRead();
        return (await state('stale')) === 1;
      }, 'the replica to be stale');
      const shown = await figures();
      expect(await state('fresh')).toBe(0);
      expect(shown.sum('tenantry_node_lag_seconds', replica)).toBeGreaterThan(1);
      expect(shown.sum('tenantry_node_lag_bytes', replica)).toBeGreaterThan(0);
      const { body } = await service.operator().get('/admin/v1/cluster').expect(200);
      const { nodes } = body as { nodes: Record<string, unknown>[] };
      expect(nodes).toContainEqual({
        name: 'replica-1',
        role: 'replica',
        state: 'stale',
        lagMs: expect.any(Number),
        lagBytes: expect.any(Number),
        lsn: expect.stringMatching(/^[0-9A-F]+\/[0-9A-F]+$/),
        timeline: null,
        pool: expect.objectContaining({ max: 10, waiting: 0, tainted: 0 }),
        admission: { waiting: 0, waited: 0, refused: 0 },
      });
      expect(nodes).toContainEqual(
        expect.objectContaining({ name: 'primary', role: 'primary', state: 'fresh', timeline: 1 }),
      );
    });
    await replicasFresh(service);
  });
});
