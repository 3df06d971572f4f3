import { beforeAll, describe, expect, it } from '@jest/globals';
import { v7 as uuidv7 } from 'uuid';
import { apiKeyOf, newKeySecret } from '../../src/auth/api-keys.ts';
import { createTestClock } from '../support/clock.ts';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { hire } from '../support/staff.ts';
import { password, problemOf, startTenantry, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

const database = useDatabase();
const clock = createTestClock();
const service = useTenantry(database, { overrides: { clock } });

interface MadeKey {
  id: string;
  key: string;
  lastUsedAt: string | null;
}

const day = 24 * 3600 * 1000;
const product = () => ({ sku: uuidv7(), name: 'Saw', priceCents: 1, stock: 9 });
const as = (key: string) => service.api().auth(key, { type: 'bearer' });

async function make(client: TestTenant['client'], scopes: string[], more: object = {}): Promise<MadeKey> {
  const answer = await client.post('/v1/api-keys').send({ name: 'a key', scopes, ...more });
  expect([answer.status, answer.text]).toEqual([201, expect.any(String)]);
  return answer.body as MadeKey;
}

describe.each(['shared', 'schema'] as const)('an API key of a tenant with isolation %s', (isolation) => {
  let tenant: TestTenant;
  let other: TestTenant;
  beforeAll(async () => {
    tenant = await service.onboard(`keys_${isolation}`, isolation);
    other = await service.onboard(`keys_other_${isolation}`, isolation);
  });

  it('is shown once, in a form that scanners know, and never again', async () => {
    const { id, key, ...made } = await make(tenant.client, ['read']);
    expect(key).toMatch(/^tnt_[0-9a-f]{32}_[0-9a-f]{32}_[0-9a-z]{50}$/);
    expect(made).toMatchObject({ name: 'a key', scopes: ['read'], userId: tenant.scope.actor.id });
    const list = await tenant.client.get('/v1/api-keys').expect(200);
    const one = await tenant.client.get(`/v1/api-keys/${id}`).expect(200);
    const events = await tenant.client.get('/v1/audit-events?limit=100').expect(200);
    const secret = key.slice(-50);
    const [row] = await database.superuser<{ hash: string }>(
      `select secret_hash as hash from ${tenant.scope.tenant.schema}.api_keys where id = $1`,
      [id],
    );
    expect(row?.hash).toMatch(/^[\w-]{43}$/);
    for (const { text } of [list, one, events]) {
      expect(text).toContain(id);
      expect(text).not.toContain(secret);
      expect(text).not.toContain(row?.hash);
    }
  });

  it('says who its tenant is: no header is needed, its own may be named, another one not', async () => {
    const { key } = await make(tenant.client, ['read']);
    await as(key).get('/v1/products').expect(200);
    await as(key).get('/v1/products').set('X-Tenant-ID', tenant.slug).expect(200);
    for (const name of [other.slug, other.id, 'nobody-at-all']) {
      expectProblem(await as(key).get('/v1/products').set('X-Tenant-ID', name), 403, 'tenant_mismatch');
    }
    await database.caughtUp();
    const { body } = await tenant.client.get('/v1/audit-events?filter[action]=auth.tenant_mismatch&limit=1');
    expect((body as { data: unknown[] }).data).toEqual([
      expect.objectContaining({
        actor: { kind: 'key', id: key.slice(37, 69).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-') },
      }),
    ]);
  });

  it.each<[string, string[], Record<string, number>]>([
    ['read', ['read'], { 'GET products': 200, 'GET orders': 200, 'POST products': 403, 'GET users': 403 }],
    ['write', ['write'], { 'GET products': 403, 'POST products': 201, 'POST users': 403 }],
    ['products:read', ['products:read'], { 'GET products': 200, 'GET orders': 403, 'POST products': 403 }],
    ['orders:write', ['orders:write'], { 'POST products': 403, 'GET orders': 403 }],
    ['users:read', ['users:read'], { 'GET users': 200, 'POST users': 403, 'GET products': 403 }],
    ['users:write', ['users:write'], { 'POST users': 201, 'POST admins': 403, 'POST owners': 403 }],
    ['audit-events:read', ['audit-events:read'], { 'GET audit-events': 200, 'GET products': 403 }],
    [
      'everything there is',
      ['read', 'write', 'users:read', 'users:write', 'audit-events:read'],
      { 'GET api-keys': 403, 'POST api-keys': 403, 'POST owners': 403, 'GET me': 403, 'POST orders': 404 },
    ],
  ])('with the scope %s may do that and no more', async (_name, scopes, expected) => {
    const { key } = await make(tenant.client, scopes);
    const user = (role: string) => ({ email: `${uuidv7()}@keys.test`, password, role });
    const bodies: Record<string, [string, object]> = {
      products: ['products', product()],
      orders: ['orders', { lines: [{ productId: uuidv7(), quantity: 1 }] }],
      users: ['users', user('member')],
      admins: ['users', user('admin')],
      owners: ['users', user('owner')],
      'api-keys': ['api-keys', { name: 'child', scopes: ['read'] }],
    };
    for (const [call, status] of Object.entries(expected)) {
      const [verb = '', noun = ''] = call.split(' ');
      const [path, body] = bodies[noun] ?? [noun, {}];
      const answer =
        verb === 'GET' ? await as(key).get(`/v1/${noun}`) : await as(key).post(`/v1/${path}`).send(body);
      expect([call, answer.status]).toEqual([call, status]);
    }
  });

  it('with users:write neither makes an admin of a user nor touches one', async () => {
    const { key } = await make(tenant.client, ['users:write']);
    const admin = await hire(service, tenant, 'admin');
    const member = await hire(service, tenant, 'member');
    for (const role of ['admin', 'owner']) {
      expectProblem(await as(key).patch(`/v1/users/${member.id}`).send({ role }), 403, 'forbidden');
    }
    for (const id of [admin.id, tenant.scope.actor.id]) {
      expectProblem(
        await as(key).patch(`/v1/users/${id}`).send({ password: 'stolen password' }),
        403,
        'forbidden',
      );
      const removed = await as(key).delete(`/v1/users/${id}`);
      expect([403, 409]).toContain(removed.status);
    }
  });

  it('is made by admins and owners, and by nobody else', async () => {
    for (const [role, status] of [
      ['admin', 201],
      ['member', 403],
      ['viewer', 403],
    ] as const) {
      const { client } = await hire(service, tenant, role);
      expect((await client.post('/v1/api-keys').send({ name: 'x', scopes: ['read'] })).status).toBe(status);
      expect((await client.get('/v1/api-keys')).status).toBe(status === 201 ? 200 : 403);
    }
  });

  it('ends with its user, and shrinks with the user’s role', async () => {
    const admin = await hire(service, tenant, 'admin');
    const { key } = await make(admin.client, ['read', 'write', 'users:read']);
    await as(key).post('/v1/products').send(product()).expect(201);
    await tenant.client.patch(`/v1/users/${admin.id}`).send({ role: 'viewer' }).expect(200);
    clock.advance(1000);
    await as(key).get('/v1/products').expect(200);
    expectProblem(await as(key).post('/v1/products').send(product()), 403, 'forbidden');
    await tenant.client.delete(`/v1/users/${admin.id}`).expect(204);
    clock.advance(1000);
    expectProblem(await as(key).get('/v1/products'), 401, 'unauthenticated');
  });

  it('stops at once when it is revoked here, and in another process after a second', async () => {
    const { id, key } = await make(tenant.client, ['read']);
    const elsewhere = await startTenantry(database, { overrides: { clock } });
    try {
      const there = () => elsewhere.api().auth(key, { type: 'bearer' }).get('/v1/products');
      await as(key).get('/v1/products').expect(200);
      await there().expect(200);
      await tenant.client.delete(`/v1/api-keys/${id}`).expect(204);
      expectProblem(await as(key).get('/v1/products'), 401, 'unauthenticated');
      clock.advance(1000);
      expectProblem(await there(), 401, 'unauthenticated');
    } finally {
      await elsewhere.tenantry.stop();
    }
    expectProblem(await tenant.client.delete(`/v1/api-keys/${id}`), 404, 'not_found');
    await tenant.client.post(`/v1/api-keys/${id}/restore`).expect(404);
  });

  it('tells when it was last used, within a minute, without a new version or an event', async () => {
    const { id, key } = await make(tenant.client, ['read']);
    const shown = async () => (await tenant.client.get(`/v1/api-keys/${id}`).expect(200)).body as MadeKey;
    expect(await shown()).toMatchObject({ lastUsedAt: null });
    await as(key).get('/v1/products').expect(200);
    await until(async () => (await shown()).lastUsedAt !== null);
    expect(await shown()).toMatchObject({ version: 1 });
    const events = await tenant.client.get(`/v1/audit-events?filter[resourceId]=${id}`).expect(200);
    expect((events.body as { data: unknown[] }).data).toHaveLength(1);
  });

  it('that is not good is refused in the same bytes, whatever is wrong with it', async () => {
    const { id, key } = await make(tenant.client, ['read']);
    const revoked = await make(tenant.client, ['read']);
    await tenant.client.delete(`/v1/api-keys/${revoked.id}`).expect(204);
    const { secret } = newKeySecret();
    const secretOf = key.slice(-50);
    const bad = [
      apiKeyOf(tenant.id, id, secret),
      apiKeyOf(tenant.id, uuidv7(), secretOf),
      apiKeyOf(other.id, id, secretOf),
      apiKeyOf(uuidv7(), id, secretOf),
      revoked.key,
      `${key}0`,
      key.slice(0, -1),
      key.toUpperCase(),
      'tnt_',
      `tnt_${tenant.slug}_${id}_${secretOf}`,
      'a.b.c',
    ];
    const answers = [];
    for (const given of bad) answers.push(await as(given).get('/v1/products'));
    const seen = answers.map((answer) => {
      const {
        'x-request-id': _id,
        date: _date,
        'server-timing': _timing,
        ...headers
      } = answer.headers as Record<string, string>;
      return JSON.stringify([answer.status, problemOf(answer), headers]);
    });
    expect(new Set(seen).size).toBe(1);
    expectProblem(answers[0] ?? (await as(key).get('/v1/products')), 401, 'unauthenticated', []);
  });

  it.each([
    ['no scope', { scopes: [] }, '/scopes'],
    ['a scope that is none', { scopes: ['manage-owners'] }, '/scopes/0'],
    ['a scope twice', { scopes: ['read', 'read'] }, '/scopes'],
    ['an end in the past', { expiresAt: '2020-01-01T00:00:00Z' }, '/expiresAt'],
    ['an end that is no time', { expiresAt: 'tomorrow' }, '/expiresAt'],
    ['a secret of its own', { key: 'tnt_x' }, '/key'],
  ])('is not made with %s', async (_what, fields, pointer) => {
    const answer = await tenant.client.post('/v1/api-keys').send({ name: 'x', scopes: ['read'], ...fields });
    expectProblem(answer, 400, 'invalid_input', [pointer]);
  });

  it('is renamed, and nothing else of it changes', async () => {
    const { id } = await make(tenant.client, ['read']);
    const { body } = await tenant.client.patch(`/v1/api-keys/${id}`).send({ name: 'renamed' }).expect(200);
    expect(body).toMatchObject({ name: 'renamed', scopes: ['read'], version: 2 });
    const wider = await tenant.client.patch(`/v1/api-keys/${id}`).send({ scopes: ['write'] });
    expectProblem(wider, 400, 'invalid_input');
  });
});

describe('with time', () => {
  const later = createTestClock();
  const own = useTenantry(database, { overrides: { clock: later } });

  it.each(['shared', 'schema'] as const)(
    'a key of a tenant with isolation %s ends: after 90 days when nothing is said, and never for null',
    async (isolation) => {
      const tenant = await service.onboard(`keys_end_${isolation}`, isolation);
      const soon = await make(tenant.client, ['read'], {
        expiresAt: new Date(later.nowMs() + day).toISOString(),
      });
      const usual = await make(tenant.client, ['read']);
      const forever = await make(tenant.client, ['read'], { expiresAt: null });
      const statuses = async () => {
        const answers = [soon, usual, forever].map(({ key }) =>
          own.api().auth(key, { type: 'bearer' }).get('/v1/products'),
        );
        return (await Promise.all(answers)).map((answer) => answer.status);
      };
      const startMs = later.nowMs();
      expect(await statuses()).toEqual([200, 200, 200]);
      later.advance(day);
      expect(await statuses()).toEqual([401, 200, 200]);
      later.advance(90 * day);
      expect(await statuses()).toEqual([401, 401, 200]);
      later.advance(startMs - later.nowMs()); // back, for the other isolation
    },
  );
});
