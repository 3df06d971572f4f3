import { beforeAll, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { replicasFresh, type TestTenant, useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
const service = useTenantry(database);

describe.each(['shared', 'schema'] as const)('products of a tenant with isolation %s', (isolation) => {
  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await service.onboard(`products_${isolation}`, isolation);
  });

  it('are created, read, changed, deleted and restored', async () => {
    const created = await tenant.client
      .post('/v1/products')
      .send({ sku: 'A-1', name: 'Saw', priceCents: 1990, stock: 3 })
      .expect(201);
    const { id } = created.body as { id: string };
    expect(created.headers['location']).toBe(`/v1/products/${id}`);
    expect(created.headers['served-by']).toBe('primary; reason=write');
    await replicasFresh(service);
    await tenant.client.get(`/v1/products/${id}`).expect(200, created.body as object);
    const changed = await tenant.client.patch(`/v1/products/${id}`).send({ stock: 4 }).expect(200);
    expect(changed.body).toMatchObject({ id, stock: 4, version: 2 });
    await tenant.client.delete(`/v1/products/${id}`).expect(204);
    await tenant.client.get(`/v1/products/${id}`).expect(404);
    await tenant.client.post(`/v1/products/${id}/restore`).expect(200);
    await tenant.client.get(`/v1/products/${id}`).expect(200);
  });
});
