import { afterEach, expect, it, jest } from '@jest/globals';
import type { Step } from '../../src/control/tenants/service.ts';
import { moveTo, otherOf } from '../support/moving.ts';
import { useCluster } from '../support/own-cluster.ts';
import { password, replicasFresh, useTenantry } from '../support/tenantry.ts';

jest.setTimeout(60_000);

const own = useCluster({ replicas: 1 });
let onStep: Step = () => undefined;
const service = useTenantry(own.database, { overrides: { step: (name) => onStep(name) } });
afterEach(() => {
  onStep = () => undefined;
});

it.each(['shared', 'schema'] as const)(
  'of a tenant that has just left %s, nothing is read from a replica that has not replayed the move',
  async (isolation) => {
    const tenant = await service.onboard(`left_${isolation}`, isolation);
    const other = await service.login(tenant.slug, tenant.ownerEmail, password);
    const insert = (sku: string) =>
      tenant.client.post('/v1/products').send({ sku, name: sku, priceCents: 1, stock: 1 }).expect(201);
    const skus = async (client: typeof other) => {
      const { body, headers } = await client.get('/v1/products?sort=sku').expect(200);
      const { data } = body as { data: { sku: string }[] };
      return { skus: data.map(({ sku }) => sku), by: String(headers['served-by']) };
    };
    await insert('A');
    await own.cluster.caughtUp();
    await replicasFresh(service);

    let moved: Promise<unknown> | undefined;
    const atTheLastPass = new Promise<() => void>((resolve) => {
      onStep = async (name) => {
        if (name === 'move: proved') await new Promise<void>((goOn) => resolve(goOn));
      };
      moved = moveTo(service, tenant, otherOf(isolation));
    });
    const goOn = await atTheLastPass;
    // Only the last pass takes it along. The replica has it where the tenant was, and nowhere else.
    await insert('B');
    await own.cluster.caughtUp();
    expect(await skus(tenant.client)).toMatchObject({
      skus: ['A', 'B'],
      by: expect.stringMatching(/^replica-1/),
    });
    await own.cluster.pauseReplay(0, async () => {
      goOn();
      await moved;
      const atPrimary = { skus: ['A', 'B'], by: expect.stringMatching(/^primary; reason=behind/) };
      expect(await skus(tenant.client)).toEqual(atPrimary);
      expect(await skus(other)).toEqual(atPrimary);
    });
    await own.cluster.caughtUp();
    await replicasFresh(service);
    expect(await skus(other)).toMatchObject({ skus: ['A', 'B'], by: expect.stringMatching(/^replica-1/) });
  },
);

it.each(['shared', 'schema'] as const)(
  'a tenant that has just left %s is not written before every process reads at its new place',
  async (isolation) => {
    const tenant = await service.onboard(`held_${isolation}`, isolation);
    const insert = () =>
      tenant.client.post('/v1/products').send({ sku: 'A', name: 'A', priceCents: 1, stock: 1 });
    const movedAt = (moment: string) =>
      own.database.superuser(
        `update control.tenants set moved_at = clock_timestamp() + $2::interval where id = $1`,
        [tenant.id, moment],
      );
    await moveTo(service, tenant, otherOf(isolation));
    await movedAt('1 minute');
    const refused = await insert().expect(503);
    expect(refused.body).toMatchObject({ code: 'tenant_moving' });
    expect(refused.headers['retry-after']).toBe('1');
    await movedAt('-1.2 seconds');
    await insert().expect(201);
  },
);
