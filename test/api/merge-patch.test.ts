import { beforeAll, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { password, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { unchanged } from '../support/untouched.ts';

const database = useDatabase();
const service = useTenantry(database);

const json = 'application/json';
const mergePatch = 'application/merge-patch+json';
const both = `${json}, ${mergePatch}`;

let tenant: TestTenant;
const paths: Record<'products' | 'users' | 'orders' | 'api-keys', string> = {
  products: '',
  users: '',
  orders: '',
  'api-keys': '',
};

beforeAll(async () => {
  tenant = await service.onboard('merge_patch', 'schema');
  const make = async (noun: keyof typeof paths, body: object) => {
    const { headers } = await tenant.client.post(`/v1/${noun}`).send(body).expect(201);
    paths[noun] = String(headers['location']);
    return paths[noun].split('/').at(-1);
  };
  const productId = await make('products', {
    ...{ sku: 'P', name: 'Saw', description: 'sharp', priceCents: 1, stock: 5 },
  });
  const customerId = await make('users', { email: 'x@merge.test', password, name: 'Mia' });
  await make('orders', { customerId, lines: [{ productId, quantity: 1 }] });
  await make('api-keys', { name: 'x', scopes: ['read'] });
});

function patch(path: string, type: string, body: unknown) {
  return tenant.client.patch(path).set('Content-Type', type).send(JSON.stringify(body));
}

describe('PATCH', () => {
  it.each([json, mergePatch, 'Application/Merge-Patch+JSON; charset=UTF-8'])(
    'as %s changes what is given, clears what is null, and leaves the rest',
    async (type) => {
      const changes = [
        ['products', { name: `Axe ${type.length}`, description: null }],
        ['users', { name: null, role: 'viewer' }],
        ['orders', { customerId: null }],
        ['api-keys', { name: `y ${type.length}` }],
      ] as const;
      for (const [noun, change] of changes) {
        const before = (await tenant.client.get(paths[noun]).expect(200)).body as object;
        const { body } = await patch(paths[noun], type, change).expect(200);
        const {
          version: _version,
          updatedAt: _updatedAt,
          ...rest
        } = { ...before, ...change } as Record<string, unknown>;
        expect(body).toMatchObject(rest);
      }
    },
  );

  it.each([json, mergePatch])('as %s clears nothing that cannot be empty', async (type) => {
    await unchanged(database, async () => {
      const product = { sku: null, name: null, priceCents: null, currency: null, stock: null };
      const pointers = Object.keys(product).map((field) => `/${field}`);
      expectProblem(await patch(paths.products, type, product), 400, 'invalid_input', pointers);
      const one = await patch(paths.products, type, { description: null, stock: null });
      expectProblem(one, 400, 'invalid_input', ['/stock']);
      const user = { email: null, password: null, role: null };
      const answer = await patch(paths.users, type, user);
      expectProblem(answer, 400, 'invalid_input', ['/email', '/password', '/role']);
      expectProblem(await patch(paths.products, type, { stock: 1, colour: null }), 400, 'invalid_input', [
        '/colour',
      ]);
      for (const body of [null, [], [{ op: 'remove', path: '/description' }], 'x', 1]) {
        expect((await patch(paths.products, type, body)).status).toBe(400);
      }
    });
  });

  it.each([
    'application/json-patch+json',
    'application/x-www-form-urlencoded',
    'text/plain',
    'application/merge-patch',
    'application/problem+json',
  ])('as %s is refused with what would be taken', async (type) => {
    await unchanged(database, async () => {
      for (const path of Object.values(paths)) {
        const answer = await patch(path, type, { name: 'z' });
        expectProblem(answer, 415, 'unsupported_media_type', []);
        expect(answer.headers['accept-patch']).toBe(both);
      }
    });
  });

  it('without a body is refused with what would be taken', async () => {
    const answer = await tenant.client.patch(paths.products);
    expectProblem(answer, 415, 'unsupported_media_type', []);
    expect(answer.headers['accept-patch']).toBe(both);
  });

  it('is offered by OPTIONS where there is one', async () => {
    for (const path of Object.values(paths)) {
      const { headers } = await tenant.client.options(path).expect(204);
      expect(headers['accept-patch']).toBe(both);
    }
    const list = await tenant.client.options('/v1/products').expect(204);
    expect(list.headers).not.toHaveProperty('accept-patch');
  });

  it('of a tenant takes JSON alone, for its limits are set anew and not merged', async () => {
    const path = `/admin/v1/tenants/${tenant.slug}`;
    const change = JSON.stringify({ limits: { users: 10 } });
    const send = (type: string) => service.operator().patch(path).set('Content-Type', type).send(change);
    const refused = await send(mergePatch);
    expectProblem(refused, 415, 'unsupported_media_type', []);
    expect(refused.headers['accept-patch']).toBe(json);
    const { headers } = await service.operator().options(path).expect(204);
    expect(headers['accept-patch']).toBe(json);
    const { body } = await send(json).expect(200);
    expect(body).toMatchObject({ limits: { users: 10 } });
  });
});
