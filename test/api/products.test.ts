import { beforeAll, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { unchanged } from '../support/untouched.ts';
import { problemOf, replicasFresh, type TestTenant, useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
const service = useTenantry(database);

interface ProductBody {
  id: string;
  sku: string;
  stock: number;
  version: number;
  updatedAt: string;
}

describe.each(['shared', 'schema'] as const)('products of a tenant with isolation %s', (isolation) => {
  let tenant: TestTenant;
  let other: TestTenant;
  beforeAll(async () => {
    tenant = await service.onboard(`products_${isolation}`, isolation);
    other = await service.onboard(`products_other_${isolation}`, isolation);
  });

  const create = async (sku: string, of = tenant) =>
    (await of.client.post('/v1/products').send({ sku, name: 'Saw', priceCents: 1990, stock: 3 }).expect(201))
      .body as ProductBody;

  it('are created, read, changed, deleted and restored', async () => {
    const created = await tenant.client
      .post('/v1/products')
      .send({ sku: 'A-1', name: 'Saw', priceCents: 1990, stock: 3 })
      .expect(201);
    const { id } = created.body as ProductBody;
    expect(created.headers['location']).toBe(`/v1/products/${id}`);
    expect(created.headers['served-by']).toBe('primary; reason=write');
    await replicasFresh(service);
    await tenant.client.get(`/v1/products/${id}`).expect(200, created.body as object);
    const changed = await tenant.client.patch(`/v1/products/${id}`).send({ stock: 4 }).expect(200);
    expect(changed.body).toMatchObject({ id, stock: 4, version: 2 });
    const deleted = await tenant.client.delete(`/v1/products/${id}`).expect(204);
    expect(deleted.text).toBe('');
    await tenant.client.get(`/v1/products/${id}`).expect(404);
    await tenant.client.post(`/v1/products/${id}/restore`).expect(200);
    await tenant.client.get(`/v1/products/${id}`).expect(200);
  });

  it('have defaults for what is not required, and text without blanks around it', async () => {
    const { body } = await tenant.client
      .post('/v1/products')
      .send({ sku: ' A-2 ', name: ' Plane ', priceCents: 0, stock: 0 })
      .expect(201);
    expect(body).toEqual({
      id: expect.stringMatching(/^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/),
      sku: 'A-2',
      name: 'Plane',
      description: null,
      priceCents: 0,
      currency: 'USD',
      stock: 0,
      version: 1,
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      updatedAt: expect.any(String),
    });
  });

  it('keep any well-formed text and the largest numbers as they are', async () => {
    const full = {
      sku: `'; drop table products; --`,
      name: 'Säge 🪚 \u202e \\ "',
      description: 'x'.repeat(10_000),
      priceCents: 1_000_000_000_000,
      currency: 'EUR',
      stock: 1_000_000_000,
    };
    const { id } = (await tenant.client.post('/v1/products').send(full).expect(201)).body as ProductBody;
    const { body } = await tenant.client.get(`/v1/products/${id}`).expect(200);
    expect(body).toMatchObject(full);
  });

  it('change in the fields that are given and in no other', async () => {
    const before = await create('A-3');
    const change = { description: 'sharp', priceCents: 5 };
    const { body } = await tenant.client.patch(`/v1/products/${before.id}`).send(change).expect(200);
    expect(body).toEqual({ ...before, ...change, version: 2, updatedAt: expect.any(String) });
    expect((body as ProductBody).updatedAt > before.updatedAt).toBe(true);
  });

  it('have a SKU of their own, which another tenant may use, too', async () => {
    await create('B-1');
    await create('B-1', other);
    const second = await create('B-2');
    await unchanged(database, async () => {
      const body = { sku: 'B-1', name: 'Saw', priceCents: 1, stock: 1 };
      expectProblem(await tenant.client.post('/v1/products').send(body), 409, 'sku_taken', ['/sku']);
      const renamed = await tenant.client.patch(`/v1/products/${second.id}`).send({ sku: 'B-1' });
      expectProblem(renamed, 409, 'sku_taken', ['/sku']);
    });
  });

  it('free their SKU when they are deleted, and cannot come back once it has been taken', async () => {
    const first = await create('C-1');
    await tenant.client.delete(`/v1/products/${first.id}`).expect(204);
    const second = await create('C-1');
    await unchanged(database, async () => {
      const restored = await tenant.client.post(`/v1/products/${first.id}/restore`);
      expectProblem(restored, 409, 'sku_taken', ['/sku']);
    });
    await tenant.client.delete(`/v1/products/${second.id}`).expect(204);
    const { body } = await tenant.client.post(`/v1/products/${first.id}/restore`).expect(200);
    expect(body).toMatchObject({ id: first.id, sku: 'C-1', version: 3 });
  });

  it('are left as they are by a restore that has nothing to restore', async () => {
    const product = await create('C-2');
    await unchanged(database, async () => {
      const { body } = await tenant.client.post(`/v1/products/${product.id}/restore`).expect(200);
      expect(body).toEqual(product);
    });
  });

  it('are not found, in the same words, whether unknown, foreign or deleted', async () => {
    const deleted = await create('D-1');
    await tenant.client.delete(`/v1/products/${deleted.id}`).expect(204);
    const ids = [
      '01900000-0000-7000-8000-000000000000',
      '00000000-0000-0000-0000-000000000000',
      (await create('D-2', other)).id,
      deleted.id,
      deleted.id.toUpperCase(),
    ];
    await unchanged(database, async () => {
      const answers = await Promise.all(
        ids.map(async (id) => {
          const path = `/v1/products/${id}`;
          return [
            await service.api().auth(tenant.token, { type: 'bearer' }).get(path),
            await service.api().auth(tenant.token, { type: 'bearer' }).patch(path).send({ stock: 1 }),
            await service.api().auth(tenant.token, { type: 'bearer' }).delete(path),
          ];
        }),
      );
      for (const answer of answers.flat()) expectProblem(answer, 404, 'not_found', []);
      expect(new Set(answers.flat().map((answer) => JSON.stringify(problemOf(answer)))).size).toBe(1);
    });
  });

  it('are written all or none when many are created at once', async () => {
    const item = (sku: string) => ({
      sku,
      name: 'Saw',
      description: null,
      priceCents: 1,
      currency: 'USD',
      stock: 1,
    });
    const { products } = service.tenantry.data;
    await unchanged(database, async () => {
      const twice = products.createMany(tenant.scope, [item('E-1'), item('E-2'), item('E-1')]);
      await expect(twice).rejects.toMatchObject({ code: 'sku_taken' });
    });
    const many = Array.from({ length: 1001 }, (_, index) => item(`E-${index}`));
    expect(await products.createMany(tenant.scope, many)).toHaveLength(1001);
  });
});
