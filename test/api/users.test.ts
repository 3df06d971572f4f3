import { beforeAll, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { forbidChanges, unchanged } from '../support/untouched.ts';
import { type Colleague, hire } from '../support/staff.ts';
import { password, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { useWire } from '../support/wire.ts';

const database = useDatabase();
const service = useTenantry(database);
const wire = useWire(() => service.tenantry.tenantApp);

interface UserBody {
  id: string;
  email: string;
  role: string;
}

const login = (tenant: TestTenant, email: string, secret: string) =>
  service.api().post('/v1/auth/login').set('X-Tenant-ID', tenant.slug).send({ email, password: secret });

describe.each(['shared', 'schema'] as const)('users of a tenant with isolation %s', (isolation) => {
  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await service.onboard(`users_${isolation}`, isolation);
  });

  it('are created, read, listed, changed, deleted and restored, and no answer holds a password', async () => {
    const created = await tenant.client
      .post('/v1/users')
      .send({ email: 'Ada@Users.test', password, name: ' Ada ' })
      .expect(201);
    const { id } = created.body as UserBody;
    expect(created.headers['location']).toBe(`/v1/users/${id}`);
    expect(created.body).toEqual({
      id: expect.any(String),
      email: 'ada@users.test',
      name: 'Ada',
      role: 'member',
      version: 1,
      createdAt: expect.any(String),
      updatedAt: expect.any(String),
    });
    const got = await tenant.client.get(`/v1/users/${id}`).expect(200, created.body as object);
    const listed = await tenant.client.get('/v1/users').expect(200);
    expect((listed.body as { data: UserBody[] }).data).toContainEqual(created.body);
    const changed = await tenant.client.patch(`/v1/users/${id}`).send({ name: null }).expect(200);
    expect(changed.body).toMatchObject({ id, name: null, version: 2 });
    await tenant.client.delete(`/v1/users/${id}`).expect(204);
    await tenant.client.get(`/v1/users/${id}`).expect(404);
    const restored = await tenant.client.post(`/v1/users/${id}/restore`).expect(200);
    for (const answer of [created, got, listed, changed, restored])
      expect(answer.text).not.toMatch(/password/i);
  });

  it('log in with their new password, and no more with the old one, after a change', async () => {
    const { id, email } = await hire(service, tenant, 'member');
    await tenant.client.patch(`/v1/users/${id}`).send({ password: 'a new password' }).expect(200);
    await login(tenant, email, 'a new password').expect(200);
    expectProblem(await login(tenant, email, password), 401, 'invalid_credentials');
  });

  it('have an address of their own, in any case of letters', async () => {
    await tenant.client.post('/v1/users').send({ email: 'one@users.test', password }).expect(201);
    await unchanged(database, async () => {
      const twice = await tenant.client.post('/v1/users').send({ email: 'ONE@users.test', password });
      expectProblem(twice, 409, 'email_taken', ['/email']);
    });
  });

  it('free their address when they are deleted, and cannot come back once it has been taken', async () => {
    const body = { email: 'reused@users.test', password };
    const first = (await tenant.client.post('/v1/users').send(body).expect(201)).body as UserBody;
    await tenant.client.delete(`/v1/users/${first.id}`).expect(204);
    const second = (await tenant.client.post('/v1/users').send(body).expect(201)).body as UserBody;
    await unchanged(database, async () => {
      const restored = await tenant.client.post(`/v1/users/${first.id}/restore`);
      expectProblem(restored, 409, 'email_taken', ['/email']);
    });
    await tenant.client.delete(`/v1/users/${second.id}`).expect(204);
    await tenant.client.post(`/v1/users/${first.id}/restore`).expect(200);
  });

  it('may have the address of another tenant’s user', async () => {
    const other = await service.onboard(`users_other_${isolation}`, isolation);
    const body = { email: 'both@users.test', password };
    await tenant.client.post('/v1/users').send(body).expect(201);
    await other.client.post('/v1/users').send(body).expect(201);
  });

  describe('have a role', () => {
    let staff: Record<'admin' | 'member' | 'viewer' | 'owner', Colleague>;
    let product: string;
    beforeAll(async () => {
      staff = {
        owner: await hire(service, tenant, 'owner'),
        admin: await hire(service, tenant, 'admin'),
        member: await hire(service, tenant, 'member'),
        viewer: await hire(service, tenant, 'viewer'),
      };
      const created = await tenant.client
        .post('/v1/products')
        .send({ sku: 'ROLE', name: 'Saw', priceCents: 1, stock: 1 })
        .expect(201);
      product = (created.body as { id: string }).id;
      await database.caughtUp();
    });

    describe('that refuses', () => {
      forbidChanges(database);
      const aProduct = { sku: 'NEW', name: 'New', priceCents: 1, stock: 1 };
      const aUser = { email: 'new@users.test', password };

      it.each([
        ['viewer', 'to create', 'post', (): string => '/v1/products', aProduct],
        ['viewer', 'to change', 'patch', (): string => `/v1/products/${product}`, { stock: 5 }],
        ['viewer', 'to delete', 'delete', (): string => `/v1/products/${product}`, undefined],
        ['viewer', 'to restore', 'post', (): string => `/v1/products/${product}/restore`, undefined],
        [
          'viewer',
          'to order',
          'post',
          (): string => '/v1/orders',
          { lines: [{ productId: product, quantity: 1 }] },
        ],
        ['viewer', 'to cancel', 'post', (): string => `/v1/orders/${product}/cancel`, undefined],
        ['viewer', 'to make users', 'post', (): string => '/v1/users', aUser],
        ['member', 'to make users', 'post', (): string => '/v1/users', aUser],
        [
          'member',
          'to change even itself',
          'patch',
          (): string => `/v1/users/${staff.member.id}`,
          { role: 'owner' },
        ],
        ['member', 'to delete users', 'delete', (): string => `/v1/users/${staff.viewer.id}`, undefined],
        ['admin', 'to make owners', 'post', (): string => '/v1/users', { ...aUser, role: 'owner' }],
        [
          'admin',
          'to become an owner',
          'patch',
          (): string => `/v1/users/${staff.admin.id}`,
          { role: 'owner' },
        ],
        [
          'admin',
          'to set an owner’s password',
          'patch',
          (): string => `/v1/users/${staff.owner.id}`,
          { password: 'taken over by an admin' },
        ],
        [
          'admin',
          'to demote owners',
          'patch',
          (): string => `/v1/users/${staff.owner.id}`,
          { role: 'member' },
        ],
        ['admin', 'to delete owners', 'delete', (): string => `/v1/users/${staff.owner.id}`, undefined],
      ] as const)('a %s %s', async (role, _what, method, path, body) => {
        const answer = await staff[role].client[method](path()).send(body);
        expectProblem(answer, 403, 'forbidden', []);
      });
    });

    it('and an admin cannot bring an owner back', async () => {
      const owner = await hire(service, tenant, 'owner');
      await tenant.client.delete(`/v1/users/${owner.id}`).expect(204);
      await unchanged(database, async () => {
        const answer = await staff.admin.client.post(`/v1/users/${owner.id}/restore`);
        expectProblem(answer, 403, 'forbidden');
      });
    });

    it('that lets a viewer read, a member write and an admin manage users', async () => {
      for (const path of ['/v1/products', '/v1/orders', '/v1/users', `/v1/products/${product}`]) {
        await staff.viewer.client.get(path).expect(200);
      }
      await staff.member.client.patch(`/v1/products/${product}`).send({ stock: 7 }).expect(200);
      const made = await staff.admin.client
        .post('/v1/users')
        .send({ email: 'by-admin@users.test', password })
        .expect(201);
      const { id } = made.body as UserBody;
      await staff.admin.client.patch(`/v1/users/${id}`).send({ role: 'admin' }).expect(200);
      await staff.admin.client.delete(`/v1/users/${id}`).expect(204);
    });
  });

  describe('always have an owner among them:', () => {
    it('the last one can neither go nor be demoted', async () => {
      const sole = await service.onboard(`users_sole_${isolation}`, isolation);
      const self = `/v1/users/${sole.scope.actor.id}`;
      await unchanged(database, async () => {
        expectProblem(await sole.client.delete(self), 409, 'last_owner');
        expectProblem(await sole.client.patch(self).send({ role: 'admin' }), 409, 'last_owner');
      });
      await hire(service, sole, 'owner');
      await sole.client.patch(self).send({ role: 'admin' }).expect(200);
    });

    it.each([
      ['delete', undefined],
      ['patch', { role: 'member' }],
    ] as const)('of two who %s each other at once, one is left', async (method, body) => {
      const pair = await service.onboard(`users_pair_${method}_${isolation}`, isolation);
      const second = await hire(service, pair, 'owner');
      const answers = await Promise.all([
        wire.json(pair.token, method.toUpperCase(), `/v1/users/${second.id}`, body),
        wire.json(second.token, method.toUpperCase(), `/v1/users/${pair.scope.actor.id}`, body),
      ]);
      const refused = answers.filter((answer) => answer.status >= 400);
      expect(refused).toHaveLength(1);
      for (const answer of refused) expectProblem(answer, 409, 'last_owner');
    });
  });
});
