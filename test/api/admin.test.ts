import { beforeAll, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { password, replicasFresh, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { forbidChanges } from '../support/untouched.ts';

const database = useDatabase();
const service = useTenantry(database);

describe('the admin API', () => {
  let tenant: TestTenant;
  let operatorToken: string;
  beforeAll(async () => {
    tenant = await service.onboard('admin_test', 'schema');
    const { body } = await service
      .admin()
      .post('/admin/v1/auth/login')
      .send({ email: 'operator@tenantry.test', password: 'operator of tests' })
      .expect(200);
    operatorToken = (body as { accessToken: string }).accessToken;
  });

  it('shows the servers with their role, state and figures', async () => {
    await replicasFresh(service);
    const { body } = await service.operator().get('/admin/v1/cluster').expect(200);
    const { nodes } = body as { nodes: { name: string; role: string; pool: object }[] };
    expect(nodes.map(({ name }) => name)).toEqual(service.tenantry.data.db.nodes().map(({ name }) => name));
    for (const node of nodes) {
      expect(node).toMatchObject({
        role: node.name === 'primary' ? 'primary' : 'replica',
        state: 'fresh',
        pool: { max: 10, inUse: expect.any(Number), idle: expect.any(Number), waiting: expect.any(Number) },
      });
      expect(JSON.stringify(node)).not.toMatch(/postgres(ql)?:|password/);
    }
  });

  it('shows how far every schema is', async () => {
    const { body } = await service.operator().get('/admin/v1/migrations').expect(200);
    expect(body).toEqual({
      versions: [
        { ladder: 'control', version: expect.any(String), schemas: 1 },
        { ladder: 'tenant', version: expect.any(String), schemas: 2 },
      ],
      outliers: [],
      schemas: 3,
      pending: 0,
      run: null,
      failures: [],
    });
  });

  describe('is closed to', () => {
    forbidChanges(database);
    const calls = [
      ['get', '/admin/v1/tenants'],
      ['post', '/admin/v1/tenants'],
      ['get', '/admin/v1/tenants/admin_test'],
      ['get', '/admin/v1/migrations'],
      ['get', '/admin/v1/cluster'],
    ] as const;
    const body = {
      slug: 'sneaked-in',
      name: 'Sneaked in',
      isolation: 'shared',
      owner: { email: 'owner@sneaked.test', password },
    };

    it.each(calls)('a caller without a token: %s %s', async (method, path) => {
      const nobody = service.admin();
      const answer = await nobody[method](path).send(method === 'post' ? body : undefined);
      expectProblem(answer, 401, 'unauthenticated', []);
      expect(answer.headers['www-authenticate']).toBe('Bearer');
    });

    it.each(calls)('an owner of a tenant: %s %s', async (method, path) => {
      const owner = service.admin().auth(tenant.token, { type: 'bearer' });
      const answer = await owner[method](path).send(method === 'post' ? body : undefined);
      expectProblem(answer, 401, 'unauthenticated', []);
    });
  });

  it('does not make operators of tenant users, nor tenant users of operators', async () => {
    const asUser = await service
      .admin()
      .post('/admin/v1/auth/login')
      .send({ email: tenant.ownerEmail, password });
    expectProblem(asUser, 401, 'invalid_credentials');
    for (const path of ['/v1/me', '/v1/products', '/v1/users', '/v1/orders']) {
      const asOperator = service.api().auth(operatorToken, { type: 'bearer' });
      expectProblem(await asOperator.get(path).set('X-Tenant-ID', tenant.slug), 401, 'unauthenticated');
    }
  });

  it('has none of the tenant API, and the tenant API none of it', async () => {
    expectProblem(await service.operator().get('/v1/products'), 404, 'not_found');
    for (const path of ['/admin/v1/tenants', '/admin/v1/cluster', '/admin/v1/auth/login']) {
      expectProblem(await service.api().auth(operatorToken, { type: 'bearer' }).get(path), 404, 'not_found');
    }
  });
});
