import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { createTestClock } from '../support/clock.ts';
import { expectProblem } from '../support/problem.ts';
import { hire } from '../support/staff.ts';
import { password, startTenantry, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { statusesOf, useWire } from '../support/wire.ts';

const database = useDatabase();
const clock = createTestClock();
const service = useTenantry(database, { overrides: { clock } });
const wire = useWire(() => service.tenantry.tenantApp);

interface TokenPair {
  accessToken: string;
  refreshToken: string;
}

const graceMs = 10_000;
let made = 0;

async function pairOf(slug: string, email: string, secret = password): Promise<TokenPair> {
  const call = service.api().post('/v1/auth/login').set('X-Tenant-ID', slug);
  return (await call.send({ email, password: secret }).expect(200)).body as TokenPair;
}

const refresh = (refreshToken: string) => service.api().post('/v1/auth/refresh').send({ refreshToken });
const next = async (refreshToken: string) => (await refresh(refreshToken).expect(200)).body as TokenPair;
const refused = async (refreshToken: string) =>
  expectProblem(await refresh(refreshToken), 401, 'invalid_credentials', []);
const me = (accessToken: string) => service.api().auth(accessToken, { type: 'bearer' }).get('/v1/me');

describe.each(['shared', 'schema'] as const)('refresh tokens of a tenant with isolation %s', (isolation) => {
  let tenant: TestTenant;
  let first: TokenPair;
  beforeEach(async () => {
    made += 1;
    tenant = await service.onboard(`refresh_${isolation}_${made}`, isolation);
    first = await pairOf(tenant.slug, tenant.ownerEmail);
  });

  async function events(action: string): Promise<unknown[]> {
    await database.caughtUp(); // events of others than the reader are no own writes
    const { body } = await tenant.client.get(`/v1/audit-events?filter[action]=${action}`).expect(200);
    return (body as { data: unknown[] }).data;
  }

  it('used twice within the grace lead to one and the same successor, and the family lives', async () => {
    const second = await next(first.refreshToken);
    clock.advance(graceMs - 1000);
    const again = await next(first.refreshToken);
    expect(again.refreshToken).toBe(second.refreshToken);
    await me(again.accessToken).expect(200);
    await next(second.refreshToken);
    expect(await events('auth.refresh_reused')).toEqual([]);
  });

  it('used again after the grace end the family, and no other', async () => {
    const other = await pairOf(tenant.slug, tenant.ownerEmail);
    const second = await next(first.refreshToken);
    clock.advance(graceMs + 1000);
    await refused(first.refreshToken);
    await refused(second.refreshToken);
    await next(other.refreshToken);
    expect(await events('auth.refresh_reused')).toEqual([
      expect.objectContaining({ resource: 'users', resourceId: tenant.scope.actor.id }),
    ]);
  });

  it('older than the one before the present end the family, even within the grace', async () => {
    const second = await next(first.refreshToken);
    const third = await next(second.refreshToken);
    await refused(first.refreshToken);
    await refused(third.refreshToken);
  });

  it('used fifty times at once give fifty answers with one successor', async () => {
    const body = { refreshToken: first.refreshToken };
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => wire.json('none', 'POST', '/v1/auth/refresh', body)),
    );
    expect(statusesOf(answers)).toEqual(Array<number>(50).fill(200));
    const successors = new Set(answers.map((answer) => (answer.body as TokenPair).refreshToken));
    expect(successors.size).toBe(1);
    await next([...successors][0] ?? '');
  });

  it('used fifty times at once, after the grace, are refused fifty times and end the family', async () => {
    const second = await next(first.refreshToken);
    clock.advance(graceMs + 1000);
    const body = { refreshToken: first.refreshToken };
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => wire.json('none', 'POST', '/v1/auth/refresh', body)),
    );
    expect(statusesOf(answers)).toEqual(Array<number>(50).fill(401));
    await refused(second.refreshToken);
    expect(await events('auth.refresh_reused')).toHaveLength(1);
  });

  it('tell nobody their successor: it is no function of the token alone', async () => {
    const second = await next(first.refreshToken);
    const elsewhere = await startTenantry(database, {
      env: { JWT_SECRET: 'another key that is only good for tests, 32 characters' },
      overrides: { clock },
    });
    try {
      const foreign = await elsewhere
        .api()
        .post('/v1/auth/refresh')
        .send({ refreshToken: second.refreshToken });
      const third = (foreign.body as TokenPair).refreshToken;
      clock.advance(1000);
      // Here the successor would be another one, which is not there.
      await refused(second.refreshToken);
      expect(third).not.toBe(second.refreshToken);
    } finally {
      await elsewhere.tenantry.stop();
    }
  });

  it('of all sessions end with a logout everywhere, and so do the access tokens', async () => {
    const other = await pairOf(tenant.slug, tenant.ownerEmail);
    const colleague = await hire(service, tenant, 'admin');
    const body = { refreshToken: first.refreshToken, everywhere: true };
    await service.api().post('/v1/auth/logout').send(body).expect(204);
    await refused(first.refreshToken);
    await refused(other.refreshToken);
    for (const token of [first, other]) expectProblem(await me(token.accessToken), 401, 'unauthenticated');
    await colleague.client.get('/v1/me').expect(200);
    const again = await pairOf(tenant.slug, tenant.ownerEmail);
    await me(again.accessToken).expect(200);
  });

  it('of one session end with a logout, and the others go on', async () => {
    const other = await pairOf(tenant.slug, tenant.ownerEmail);
    await service.api().post('/v1/auth/logout').send({ refreshToken: first.refreshToken }).expect(204);
    await refused(first.refreshToken);
    await next(other.refreshToken);
    expect(await events('auth.logout')).toHaveLength(1);
  });

  it.each([
    [
      'by the user',
      async (client: TestTenant['client'], _id: string, newPassword: string) => {
        const body = { currentPassword: password, newPassword };
        await client.post('/v1/me/password').send(body).expect(204);
      },
    ],
    [
      'by an owner',
      async (_client: TestTenant['client'], id: string, newPassword: string) => {
        await tenant.client.patch(`/v1/users/${id}`).send({ password: newPassword }).expect(200);
      },
    ],
  ])('and access tokens end when the password is changed %s', async (_by, change) => {
    const colleague = await hire(service, tenant, 'member');
    const pair = await pairOf(tenant.slug, colleague.email);
    await change(colleague.client, colleague.id, 'a new password of tests');
    await refused(pair.refreshToken);
    expectProblem(await me(pair.accessToken), 401, 'unauthenticated');
    expectProblem(await colleague.client.get('/v1/products'), 401, 'unauthenticated');
    const login = service.api().post('/v1/auth/login').set('X-Tenant-ID', tenant.slug);
    await login.send({ email: colleague.email, password }).expect(401);
    const { accessToken, refreshToken } = await pairOf(
      tenant.slug,
      colleague.email,
      'a new password of tests',
    );
    await me(accessToken).expect(200);
    await next(refreshToken);
    expect(await events('users.password_changed')).toEqual([
      expect.objectContaining({ resourceId: colleague.id, after: null }),
    ]);
  });

  it('stay as they are when the present password is not right', async () => {
    const body = { currentPassword: 'not the password', newPassword: 'a new password of tests' };
    expectProblem(await tenant.client.post('/v1/me/password').send(body), 401, 'invalid_credentials');
    await next(first.refreshToken);
  });
});

describe('another process', () => {
  let stop: (() => Promise<void>) | undefined;
  afterEach(() => stop?.());

  it.each(['shared', 'schema'] as const)(
    'takes no access token of a user of %s who was removed, changed or logged out here, after two seconds at most',
    async (isolation) => {
      const tenant = await service.onboard(`elsewhere_${isolation}`, isolation);
      const other = await startTenantry(database, { overrides: { clock } });
      stop = () => other.tenantry.stop();
      const ended = {
        removed: await hire(service, tenant, 'member'),
        demoted: await hire(service, tenant, 'admin'),
        renamed: await hire(service, tenant, 'member'),
      };
      const there = (token: string) => other.api().auth(token, { type: 'bearer' }).get('/v1/products');
      for (const { token } of Object.values(ended)) await there(token).expect(200);
      await tenant.client.delete(`/v1/users/${ended.removed.id}`).expect(204);
      await tenant.client.patch(`/v1/users/${ended.demoted.id}`).send({ role: 'viewer' }).expect(200);
      await tenant.client.patch(`/v1/users/${ended.renamed.id}`).send({ name: 'Somebody' }).expect(200);
      clock.advance(2000);
      expectProblem(await there(ended.removed.token), 401, 'unauthenticated');
      expectProblem(await there(ended.demoted.token), 401, 'unauthenticated');
      await there(ended.renamed.token).expect(200);
    },
  );

  it('that has just started knows who was removed before', async () => {
    const tenant = await service.onboard('started_later', 'shared');
    const colleague = await hire(service, tenant, 'member');
    await tenant.client.delete(`/v1/users/${colleague.id}`).expect(204);
    const other = await startTenantry(database, { overrides: { clock } });
    stop = () => other.tenantry.stop();
    const answer = await other.api().auth(colleague.token, { type: 'bearer' }).get('/v1/products');
    expectProblem(answer, 401, 'unauthenticated');
  });
});
