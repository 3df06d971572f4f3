import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { forbidChanges } from '../support/untouched.ts';
import { hire } from '../support/staff.ts';
import { createTestClock } from '../support/clock.ts';
import { password, problemOf, startTenantry, type TestTenant, useTenantry } from '../support/tenantry.ts';
import type { Answer } from '../support/wire.ts';

const database = useDatabase();
const service = useTenantry(database);

interface TokenPair {
  accessToken: string;
  refreshToken: string;
}

const login = (tenant: string, body: object) =>
  service.api().post('/v1/auth/login').set('X-Tenant-ID', tenant).send(body);
const refresh = (refreshToken: string) => service.api().post('/v1/auth/refresh').send({ refreshToken });
const logout = (refreshToken: string) => service.api().post('/v1/auth/logout').send({ refreshToken });

async function pairOf({ slug, ownerEmail: email }: TestTenant): Promise<TokenPair> {
  return (await login(slug, { email, password }).expect(200)).body as TokenPair;
}

describe.each(['shared', 'schema'] as const)('a user of a tenant with isolation %s', (isolation) => {
  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await service.onboard(`auth_${isolation}`, isolation);
  });

  it('logs in with the slug or the id of the tenant, and the address in any case', async () => {
    for (const name of [tenant.slug, tenant.id, tenant.id.toUpperCase()]) {
      const { body } = await login(name, { email: tenant.ownerEmail.toUpperCase(), password }).expect(200);
      expect(body).toEqual({
        accessToken: expect.any(String),
        refreshToken: expect.any(String),
        tokenType: 'Bearer',
        expiresIn: 900,
      });
    }
  });

  it('is told who it is, without the password', async () => {
    const { body } = await tenant.client.get('/v1/me').expect(200);
    expect(body).toEqual({
      id: tenant.scope.actor.id,
      email: tenant.ownerEmail,
      name: null,
      role: 'owner',
      version: 1,
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      updatedAt: expect.any(String),
    });
  });

  it('gets new tokens for a refresh token, which is used up by it', async () => {
    const first = await pairOf(tenant);
    const second = (await refresh(first.refreshToken).expect(200)).body as TokenPair;
    expect(second.refreshToken).not.toBe(first.refreshToken);
    await service.api().auth(second.accessToken, { type: 'bearer' }).get('/v1/me').expect(200);
    await refresh(second.refreshToken).expect(200);
  });

  it('is logged out for good, and logging out again is no error', async () => {
    const first = await pairOf(tenant);
    const second = (await refresh(first.refreshToken).expect(200)).body as TokenPair;
    const answer = await logout(second.refreshToken).expect(204);
    expect(answer.text).toBe('');
    await logout(second.refreshToken).expect(204);
    expectProblem(await refresh(second.refreshToken), 401, 'invalid_credentials');
    expectProblem(await refresh(first.refreshToken), 401, 'invalid_credentials');
  });

  it('can neither log in nor refresh nor ask who it is after it has been removed', async () => {
    const colleague = await hire(service, tenant, 'member');
    const pair = (await login(tenant.slug, { email: colleague.email, password }).expect(200))
      .body as TokenPair;
    await tenant.client.delete(`/v1/users/${colleague.id}`).expect(204);
    expectProblem(await refresh(pair.refreshToken), 401, 'invalid_credentials');
    expectProblem(await login(tenant.slug, { email: colleague.email, password }), 401, 'invalid_credentials');
    expectProblem(await colleague.client.get('/v1/me'), 401, 'unauthenticated');
  });

  it('has a new role from its next refresh on, and until then no access token', async () => {
    const colleague = await hire(service, tenant, 'viewer');
    const pair = (await login(tenant.slug, { email: colleague.email, password }).expect(200))
      .body as TokenPair;
    await tenant.client.patch(`/v1/users/${colleague.id}`).send({ role: 'member' }).expect(200);
    const { accessToken } = (await refresh(pair.refreshToken).expect(200)).body as TokenPair;
    const product = { sku: 'by-a-new-member', name: 'Saw', priceCents: 1, stock: 1 };
    expectProblem(await colleague.client.post('/v1/products').send(product), 401, 'unauthenticated');
    await service.api().auth(accessToken, { type: 'bearer' }).post('/v1/products').send(product).expect(201);
  });

  describe('who is refused', () => {
    forbidChanges(database, { butEvents: true });

    it('is told the same whether tenant, user or password is wrong', async () => {
      const wrong = { email: tenant.ownerEmail, password: 'another password' };
      const answers = [
        await login(tenant.slug, wrong),
        await login(tenant.slug, { email: 'nobody@nowhere.test', password }),
        await login('no-such-tenant', { email: tenant.ownerEmail, password }),
        await login('01900000-0000-7000-8000-000000000000', { email: tenant.ownerEmail, password }),
      ];
      for (const answer of answers) expectProblem(answer, 401, 'invalid_credentials', []);
      expect(new Set(answers.map((answer) => JSON.stringify(problemOf(answer)))).size).toBe(1);
      expect(new Set(answers.map((answer) => JSON.stringify(tellingHeaders(answer)))).size).toBe(1);
    });

    it('cannot log in without naming a tenant', async () => {
      const body = { email: tenant.ownerEmail, password };
      expectProblem(await service.api().post('/v1/auth/login').send(body), 400, 'tenant_required');
    });

    it.each([
      ['a token of no tenant', () => `rt_${'0'.repeat(8)}-0000-7000-8000-000000000000_${'x'.repeat(43)}`],
      ['a token with another secret', () => `rt_${tenant.id}_${'x'.repeat(43)}`],
      ['no token at all', () => 'x'],
      ['an access token', () => tenant.token.slice(0, 200)],
      ['nothing', () => ''],
    ])('cannot refresh or log out with %s', async (name, token) => {
      expectProblem(await refresh(token()), 401, 'invalid_credentials', []);
      if (name !== 'a token with another secret') {
        expectProblem(await logout(token()), 401, 'invalid_credentials', []);
      }
    });

    it('cannot refresh or log out while the header names another tenant', async () => {
      const body = { refreshToken: tenant.refreshToken };
      for (const path of ['/v1/auth/refresh', '/v1/auth/logout']) {
        const answer = await service.api().post(path).set('X-Tenant-ID', 'another').send(body);
        expectProblem(answer, 403, 'tenant_mismatch');
      }
    });
  });
});

describe('tokens', () => {
  const clock = createTestClock();
  let stop: (() => Promise<void>) | undefined;
  afterEach(async () => {
    await stop?.();
  });

  it('end with their time: access tokens first, refresh tokens a week later', async () => {
    const later = await startTenantry(database, { overrides: { clock } });
    stop = () => later.tenantry.stop();
    const tenant = await later.onboard('auth_expiry', 'shared');
    clock.advance(899_000);
    await tenant.client.get('/v1/me').expect(200);
    clock.advance(2000);
    expectProblem(await tenant.client.get('/v1/me'), 401, 'unauthenticated');
    const again = await later
      .api()
      .post('/v1/auth/refresh')
      .send({ refreshToken: tenant.refreshToken })
      .expect(200);
    const { accessToken, refreshToken } = again.body as TokenPair;
    await later.api().auth(accessToken, { type: 'bearer' }).get('/v1/me').expect(200);
    clock.advance(604_801_000);
    const expired = await later.api().post('/v1/auth/refresh').send({ refreshToken });
    expectProblem(expired, 401, 'invalid_credentials');
  });
});

describe('an operator', () => {
  const signIn = (body: object) => service.admin().post('/admin/v1/auth/login').send(body);
  const right = { email: 'Operator@Tenantry.test', password: 'operator of tests' };
  forbidChanges(database, { butEvents: true });

  it('logs in and gets an access token', async () => {
    const { body } = await signIn(right).expect(200);
    expect(body).toEqual({ accessToken: expect.any(String), tokenType: 'Bearer', expiresIn: 900 });
    const { accessToken } = body as TokenPair;
    await service.admin().auth(accessToken, { type: 'bearer' }).get('/admin/v1/cluster').expect(200);
  });

  it('is told the same whether the address or the password is wrong', async () => {
    const answers = [
      await signIn({ ...right, password: 'another password' }),
      await signIn({ ...right, email: 'nobody@tenantry.test' }),
    ];
    for (const answer of answers) expectProblem(answer, 401, 'invalid_credentials', []);
    expect(new Set(answers.map((answer) => JSON.stringify(problemOf(answer)))).size).toBe(1);
  });
});

/** Without those that differ between any two answers. */
function tellingHeaders({ headers }: Pick<Answer, 'headers'>): object {
  const { date: _date, 'x-request-id': _id, 'server-timing': _timing, ...telling } = headers;
  return telling;
}
