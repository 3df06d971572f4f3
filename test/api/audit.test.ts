import { beforeAll, describe, expect, it } from '@jest/globals';
import type request from 'supertest';
import { v7 as uuidv7 } from 'uuid';
import { useDatabase } from '../support/database.ts';
import { sqlStateOf } from '../support/outcome.ts';
import { expectProblem } from '../support/problem.ts';
import { hire } from '../support/staff.ts';
import { password, type TestTenant, useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
const service = useTenantry(database);

interface Event {
  id: string;
  createdAt: string;
  action: string;
  resource: string;
  resourceId: string | null;
  actor: { kind: string; id: string };
  ip: string;
  userAgent: string;
  requestId: string;
  before: Record<string, unknown> | null;
  after: Record<string, unknown> | null;
}

interface Page {
  data: Event[];
  page: { next: string | null; total?: number };
}

async function eventsOf(client: request.Agent, query: string, path = '/v1/audit-events'): Promise<Event[]> {
  await database.caughtUp(); // events of others than the reader are no own writes
  return ((await client.get(`${path}?${query}`).expect(200)).body as Page).data;
}

const product = (sku: string) => ({ sku, name: 'Saw', priceCents: 100, stock: 9 });

describe.each(['shared', 'schema'] as const)('the audit of a tenant with isolation %s', (isolation) => {
  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await service.onboard(`audit_${isolation}`, isolation);
  });
  const of = (id: string) => eventsOf(tenant.client, `filter[resourceId]=${id}&sort=createdAt`);

  it('tells of each change who, what, from where, on which request, and from what to what', async () => {
    const created = await tenant.client
      .post('/v1/products')
      .set({ 'X-Request-Id': 'audited-1', 'User-Agent': `saw/1.0 ${'x'.repeat(300)}` })
      .send(product('A-1'))
      .expect(201);
    const { id } = created.body as { id: string };
    await tenant.client.patch(`/v1/products/${id}`).send({ stock: 5 }).expect(200);
    await tenant.client.delete(`/v1/products/${id}`).expect(204);
    await tenant.client.post(`/v1/products/${id}/restore`).expect(200);
    const whole = { ...product('A-1'), description: null, currency: 'USD' };
    const by = { resource: 'products', resourceId: id, actor: { kind: 'user', id: tenant.scope.actor.id } };
    const found = await of(id);
    expect(found).toEqual([
      expect.objectContaining({ ...by, action: 'products.create', before: null, after: whole }),
      expect.objectContaining({
        ...by,
        action: 'products.update',
        before: { stock: 9 },
        after: { stock: 5 },
      }),
      expect.objectContaining({
        ...by,
        action: 'products.delete',
        before: { ...whole, stock: 5 },
        after: null,
      }),
      expect.objectContaining({
        ...by,
        action: 'products.restore',
        before: null,
        after: { ...whole, stock: 5 },
      }),
    ]);
    expect(found[0]).toMatchObject({
      ip: '127.0.0.1',
      userAgent: `saw/1.0 ${'x'.repeat(192)}`,
      requestId: 'audited-1',
    });
    expect(found[0]?.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect((await tenant.client.get(`/v1/audit-events/${found[0]?.id}`).expect(200)).body).toEqual(found[0]);
  });

  it('holds every change of an order: its lines, and the stock that it takes and gives back', async () => {
    const made = await tenant.client.post('/v1/products').send(product('A-2')).expect(201);
    const productId = (made.body as { id: string }).id;
    const lines = [{ productId, quantity: 2 }];
    const placed = await tenant.client
      .post('/v1/orders')
      .set('X-Request-Id', 'placing')
      .send({ lines })
      .expect(201);
    const { id } = placed.body as { id: string };
    await tenant.client.post(`/v1/orders/${id}/cancel`).set('X-Request-Id', 'cancelling').expect(200);
    const kinds = async (requestId: string) =>
      (await eventsOf(tenant.client, 'limit=100'))
        .filter((event) => event.requestId === requestId)
        .map(({ action, before, after }) => [action, before?.['stock'], after?.['stock']] as const)
        .toSorted(([a], [b]) => a.localeCompare(b));
    expect(await kinds('placing')).toEqual([
      ['order_lines.create', undefined, undefined],
      ['orders.create', undefined, undefined],
      ['products.update', 9, 7],
    ]);
    expect(await kinds('cancelling')).toEqual([
      ['orders.update', undefined, undefined],
      ['products.update', 7, 9],
    ]);
  });

  it('tells that a password changed, and never a password or a hash of one', async () => {
    const colleague = await hire(service, tenant, 'member');
    await tenant.client.patch(`/v1/users/${colleague.id}`).send({ password: 'another password' }).expect(200);
    await tenant.client.patch(`/v1/users/${colleague.id}`).send({ role: 'viewer' }).expect(200);
    await tenant.client.delete(`/v1/users/${colleague.id}`).expect(204);
    const found = await of(colleague.id);
    expect(found.map(({ action }) => action)).toEqual([
      ...['users.create', 'auth.login', 'users.update', 'users.password_changed'],
      ...['users.role_changed', 'users.update', 'users.update', 'users.delete'],
    ]);
    expect(found.find(({ action }) => action === 'users.role_changed')).toMatchObject({
      before: { role: 'member' },
      after: { role: 'viewer' },
    });
    expect(found.find(({ after }) => after?.['passwordHash'] !== undefined)?.after).toMatchObject({
      passwordHash: 'changed',
    });
    const rows = await database.superuser<{ hash: string }>(
      `select password_hash as hash from ${tenant.scope.tenant.schema}.users`,
    );
    const text = JSON.stringify(found);
    for (const secret of [password, 'another password', '$2b$', ...rows.map(({ hash }) => hash)]) {
      expect(text).not.toContain(secret);
    }
  });

  it('holds logins that failed, with what was tried, and none of their passwords', async () => {
    const login = (email: string) =>
      service
        .api()
        .post('/v1/auth/login')
        .set('X-Tenant-ID', tenant.slug)
        .send({ email, password: 'guessed it?' });
    await login(tenant.ownerEmail).expect(401);
    await login('nobody@nowhere.test').expect(401);
    const found = await eventsOf(tenant.client, 'filter[action]=auth.login_failed&sort=createdAt');
    const actor = { kind: 'session', id: 'login' };
    expect(found).toEqual([
      expect.objectContaining({
        actor,
        resourceId: tenant.scope.actor.id,
        after: { email: tenant.ownerEmail },
      }),
      expect.objectContaining({ actor, resourceId: null, after: { email: 'nobody@nowhere.test' } }),
    ]);
    expect(JSON.stringify(found)).not.toContain('guessed');
  });

  it('of what failed holds nothing: the event goes with the change', async () => {
    const before = await eventsOf(tenant.client, 'limit=100');
    await tenant.client.post('/v1/products').send(product('A-1')).expect(409);
    await tenant.client.patch(`/v1/products/${uuidv7()}`).send({ stock: 1 }).expect(404);
    await tenant.client.delete(`/v1/products/${uuidv7()}`).expect(404);
    const id = (await eventsOf(tenant.client, 'filter[action]=products.create&limit=1'))[0]?.resourceId;
    const lines = [{ productId: id, quantity: 10_000 }];
    await tenant.client.post('/v1/orders').send({ lines }).expect(409);
    expect(await eventsOf(tenant.client, 'limit=100')).toEqual(before);
  });

  it('is paged and filtered by action, actor, resource and time', async () => {
    const all = await eventsOf(tenant.client, 'limit=100&sort=createdAt');
    const [first, ...others] = all;
    const last = others.at(-1);
    const paged: Event[] = [];
    for (let cursor = ''; ; ) {
      const { body } = await tenant.client
        .get(`/v1/audit-events?limit=3&sort=createdAt${cursor}`)
        .expect(200);
      const { data, page } = body as Page;
      paged.push(...data);
      if (page.next === null) break;
      cursor = `&cursor=${page.next}`;
    }
    expect(paged).toEqual(all);
    const filters: [string, (event: Event) => boolean][] = [
      ['filter[action]=products.create', (e) => e.action === 'products.create'],
      [`filter[actor]=${tenant.scope.actor.id}`, (e) => e.actor.id === tenant.scope.actor.id],
      ['filter[actorKind]=session', (e) => e.actor.kind === 'session'],
      ['filter[resource]=users', (e) => e.resource === 'users'],
      [`filter[from]=${last?.createdAt}`, (e) => e.createdAt >= (last?.createdAt ?? '')],
      [`filter[to]=${last?.createdAt}`, (e) => e.createdAt < (last?.createdAt ?? '')],
      [`filter[from]=${first?.createdAt}&filter[to]=${first?.createdAt}`, () => false],
    ];
    for (const [query, wanted] of filters) {
      const { body } = await tenant.client
        .get(`/v1/audit-events?limit=100&sort=createdAt&count=exact&${query}`)
        .expect(200);
      const { data, page } = body as Page;
      expect([query, data]).toEqual([query, all.filter(wanted)]);
      expect([query, page.total]).toEqual([query, data.length]);
    }
    for (const bad of ['filter[before]=x', 'filter[from]=yesterday', 'filter[resourceId]=1', 'sort=action']) {
      expectProblem(await tenant.client.get(`/v1/audit-events?${bad}`), 400, 'invalid_input');
    }
  });

  it('is for admins and owners, and cannot be changed through the API', async () => {
    for (const [role, status] of [
      ['admin', 200],
      ['member', 403],
      ['viewer', 403],
    ] as const) {
      const { client } = await hire(service, tenant, role);
      expect((await client.get('/v1/audit-events')).status).toBe(status);
    }
    for (const call of [
      tenant.client.post('/v1/audit-events').send({}),
      tenant.client.delete(`/v1/audit-events/${uuidv7()}`),
      tenant.client.patch(`/v1/audit-events/${uuidv7()}`).send({}),
    ]) {
      expectProblem(await call, 405, 'method_not_allowed');
    }
  });

  it('cannot be changed by the role of the data plane', async () => {
    const { schema } = tenant.scope.tenant;
    for (const statement of [
      `update ${schema}.audit_events set action = 'x'`,
      `delete from ${schema}.audit_events`,
      `truncate ${schema}.audit_events`,
      `update control.audit_events set action = 'x'`,
      `delete from control.audit_events`,
      `select * from control.audit_events`,
    ]) {
      expect([statement, await sqlStateOf(() => database.app(statement))]).toEqual([statement, '42501']);
    }
  });
});

describe('the audit of the platform', () => {
  const events = (query: string) => eventsOf(service.operator(), query, '/admin/v1/audit-events');

  it('tells who onboarded a tenant, without the password of its owner', async () => {
    const { id } = await service.onboard('audit_onboarded', 'shared');
    const [found] = await events(`filter[tenant]=${id}&filter[action]=tenants.create`);
    expect(found).toMatchObject({
      ...{ resource: 'tenants', resourceId: id, tenant: id },
      actor: { kind: 'platform', id: expect.stringMatching(/^[0-9a-f-]{36}$/) },
      after: { slug: 'audit_onboarded', isolation: 'shared' },
      ip: expect.any(String),
    });
    expect(JSON.stringify(found)).not.toContain(password);
  });

  it('tells who changed a tenant, what, and in which order; what changes nothing is no event', async () => {
    const { id } = await service.onboard('audit_changed', 'shared');
    const at = `/admin/v1/tenants/${id}`;
    await service
      .operator()
      .patch(at)
      .send({ limits: { users: 3 } })
      .expect(200);
    for (const action of ['suspend', 'resume']) await service.operator().post(`${at}/${action}`).expect(200);
    await service.operator().delete(at).expect(204);
    await service.operator().post(`${at}/restore`).expect(200);
    await service.operator().post(`${at}/restore`).expect(409);
    const found = await events(`filter[tenant]=${id}&sort=createdAt`);
    const change = { resourceId: id, tenant: id, actor: { kind: 'platform' }, ip: expect.any(String) };
    expect(found).toMatchObject([
      { ...change, action: 'tenants.create' },
      { ...change, action: 'tenants.update', before: { limits: {} }, after: { limits: { users: 3 } } },
      { ...change, action: 'tenants.suspend', before: { status: 'active' }, after: { status: 'suspended' } },
      { ...change, action: 'tenants.resume', before: { status: 'suspended' }, after: { status: 'active' } },
      { ...change, action: 'tenants.delete', before: { status: 'active' }, after: { status: 'deleted' } },
      { ...change, action: 'tenants.restore', before: { status: 'deleted' }, after: { status: 'active' } },
    ]);
  });

  it('holds logins of operators, and those that failed', async () => {
    const email = 'nobody@tenantry.test';
    await service.admin().post('/admin/v1/auth/login').send({ email, password: 'guessed it?' }).expect(401);
    expect(await events('filter[action]=operators.login_failed')).toEqual([
      expect.objectContaining({ after: { email }, resourceId: null }),
    ]);
    expect(await events('filter[action]=operators.login&limit=1')).toHaveLength(1);
  });

  it('holds logins for tenants that there are not', async () => {
    const email = 'somebody@nowhere.test';
    const login = service.api().post('/v1/auth/login').set('X-Tenant-ID', 'no-such-tenant');
    await login.send({ email, password: 'guessed it?' }).expect(401);
    expect(await events('filter[action]=auth.login_failed')).toEqual([
      expect.objectContaining({ after: { email }, tenant: '00000000-0000-0000-0000-000000000000' }),
    ]);
  });

  it('is paged, and refuses filters that it does not know', async () => {
    const { body } = await service.operator().get('/admin/v1/audit-events?limit=1&count=exact').expect(200);
    const { data, page } = body as Page;
    expect([data.length, typeof page.next]).toEqual([1, 'string']);
    const next = await service
      .operator()
      .get(`/admin/v1/audit-events?limit=1&cursor=${page.next}`)
      .expect(200);
    expect((next.body as Page).data[0]?.id).not.toBe(data[0]?.id);
    expectProblem(await service.operator().get('/admin/v1/audit-events?filter[x]=1'), 400, 'invalid_input');
    expectProblem(await service.admin().get('/admin/v1/audit-events'), 401, 'unauthenticated');
  });
});

describe.each(['shared', 'schema'] as const)(
  'an operator who acts for a tenant with isolation %s',
  (isolation) => {
    let tenant: TestTenant;
    const reason = 'ticket 4711: the stock is wrong';
    beforeAll(async () => {
      tenant = await service.onboard(`acting_${isolation}`, isolation);
    });

    async function act(): Promise<request.Agent> {
      const { body } = await service
        .operator()
        .post(`/admin/v1/tenants/${tenant.slug}/act`)
        .send({ reason })
        .expect(200);
      expect(body).toEqual({ accessToken: expect.any(String), tokenType: 'Bearer', expiresIn: 900 });
      return service.api().auth((body as { accessToken: string }).accessToken, { type: 'bearer' });
    }

    it('needs a reason, which both audits hold before there is a token', async () => {
      const path = `/admin/v1/tenants/${tenant.slug}/act`;
      expectProblem(await service.operator().post(path).send({}), 400, 'invalid_input', ['/reason']);
      expectProblem(
        await service.operator().post(path).send({ reason: '         x         ' }),
        400,
        'invalid_input',
        ['/reason'],
      );
      expectProblem(await service.admin().post(path).send({ reason }), 401, 'unauthenticated');
      expectProblem(
        await service.admin().auth(tenant.token, { type: 'bearer' }).post(path).send({ reason }),
        401,
        'unauthenticated',
      );
      expectProblem(
        await service.operator().post('/admin/v1/tenants/nobody/act').send({ reason }),
        404,
        'not_found',
      );
      await act();
      const wanted = expect.objectContaining({ after: { reason }, resourceId: tenant.id });
      expect(await eventsOf(tenant.client, 'filter[action]=operators.act')).toEqual([wanted]);
      const platform = '/admin/v1/audit-events';
      expect(
        await eventsOf(
          service.operator(),
          `filter[action]=operators.act&filter[tenant]=${tenant.id}`,
          platform,
        ),
      ).toEqual([wanted]);
    });

    it('changes things in its own name, and both audits tell of each change', async () => {
      const client = await act();
      const { body } = await client.post('/v1/products').send(product('ACT-1')).expect(201);
      const { id } = body as { id: string };
      await client.patch(`/v1/products/${id}`).send({ stock: 4 }).expect(200);
      const actor = { kind: 'operator', id: expect.any(String) };
      const names = ['products.create', 'products.update'];
      const inTenant = await eventsOf(tenant.client, `filter[resourceId]=${id}&sort=createdAt`);
      const query = `filter[resourceId]=${id}&filter[tenant]=${tenant.id}&sort=createdAt`;
      const inPlatform = await eventsOf(service.operator(), query, '/admin/v1/audit-events');
      for (const found of [inTenant, inPlatform]) {
        expect(found).toEqual(names.map((action) => expect.objectContaining({ action, actor })));
      }
      // What the tenant's rows held is the tenant's business.
      expect(inPlatform.map(({ before, after }) => [before, after])).toEqual([
        [null, null],
        [null, null],
      ]);
    });

    it('handles no credentials, and is nobody there', async () => {
      const client = await act();
      await client.get('/v1/users').expect(200);
      await client.get('/v1/audit-events').expect(200);
      for (const call of [
        client.post('/v1/users').send({ email: 'x@y.test', password }),
        client.patch(`/v1/users/${tenant.scope.actor.id}`).send({ password: 'a password of mine' }),
        client.delete(`/v1/users/${tenant.scope.actor.id}`),
        client.get('/v1/api-keys'),
        client.post('/v1/api-keys').send({ name: 'x', scopes: ['read'] }),
        client.get('/v1/me'),
      ]) {
        expectProblem(await call, 403, 'forbidden');
      }
      expectProblem(await client.get('/v1/products').set('X-Tenant-ID', 'another'), 403, 'tenant_mismatch');
    });

    it('does not get in with the token of the admin API, nor the other way round', async () => {
      const { body } = await service
        .operator()
        .post(`/admin/v1/tenants/${tenant.id}/act`)
        .send({ reason })
        .expect(200);
      const { accessToken } = body as { accessToken: string };
      expectProblem(
        await service.admin().auth(accessToken, { type: 'bearer' }).get('/admin/v1/tenants'),
        401,
        'unauthenticated',
      );
    });
  },
);
