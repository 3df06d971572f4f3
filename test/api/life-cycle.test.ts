import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { pino } from 'pino';
import request from 'supertest';
import { build, type Tenantry } from '../../src/build.ts';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { password, testConfig, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';
import { unchanged } from '../support/untouched.ts';

const database = useDatabase();
const service = useTenantry(database);

const at = (name: string, action = '') => `/admin/v1/tenants/${name}${action === '' ? '' : `/${action}`}`;
const act = (name: string, action: string) => service.operator().post(at(name, action));
const login = (tenant: TestTenant) =>
  service
    .api()
    .post('/v1/auth/login')
    .set('X-Tenant-ID', tenant.slug)
    .send({ email: tenant.ownerEmail, password });

describe.each(['shared', 'schema'] as const)('a tenant with isolation %s', (isolation) => {
  const onboard = (slug: string) => service.onboard(`${slug}-${isolation}`, isolation);

  it('is refused while it is suspended, and served again afterwards', async () => {
    const tenant = await onboard('paused');
    const { body } = await act(tenant.slug, 'suspend').expect(200);
    expect(body).toMatchObject({ id: tenant.id, status: 'suspended', version: 2 });
    expectProblem(await tenant.client.get('/v1/products'), 403, 'tenant_suspended', []);
    expectProblem(await login(tenant), 403, 'tenant_suspended', []);
    const refresh = service.api().post('/v1/auth/refresh').send({ refreshToken: tenant.refreshToken });
    expectProblem(await refresh, 403, 'tenant_suspended', []);
    await act(tenant.id, 'resume').expect(200);
    await tenant.client.get('/v1/products').expect(200);
    await login(tenant).expect(200);
  });

  it('is as if it had never been while it is deleted, and all there when it is restored', async () => {
    const tenant = await onboard('deleted');
    await tenant.client
      .post('/v1/products')
      .send({ sku: 'a', name: 'A', priceCents: 1, stock: 1 })
      .expect(201);
    await service.operator().delete(at(tenant.slug)).expect(204);
    expectProblem(await tenant.client.get('/v1/products'), 401, 'unauthenticated', []);
    const unknown = await service
      .api()
      .post('/v1/auth/login')
      .set('X-Tenant-ID', 'nobody-has-this-slug')
      .send({ email: tenant.ownerEmail, password });
    const deleted = await login(tenant);
    expectProblem(deleted, 401, 'invalid_credentials', []);
    expect({ ...(deleted.body as object), requestId: '' }).toEqual({
      ...(unknown.body as object),
      requestId: '',
    });
    await service.operator().get(at(tenant.slug)).expect(200);
    // Its slug stays its own.
    const again = { slug: tenant.slug, name: 'x', isolation, owner: { email: 'o@o.test', password } };
    expectProblem(await service.operator().post('/admin/v1/tenants').send(again), 409, 'slug_taken');
    await act(tenant.slug, 'restore').expect(200);
    const { body } = await tenant.client.get('/v1/products').expect(200);
    expect((body as { data: object[] }).data).toHaveLength(1);
  });

  it('is suspended after its restoration when it was before its deletion', async () => {
    const tenant = await onboard('still');
    await act(tenant.slug, 'suspend').expect(200);
    await service.operator().delete(at(tenant.slug)).expect(204);
    const { body } = await act(tenant.slug, 'restore').expect(200);
    expect(body).toMatchObject({ status: 'suspended' });
    expectProblem(await tenant.client.get('/v1/products'), 403, 'tenant_suspended', []);
  });

  it('is renamed, limited and held', async () => {
    const tenant = await onboard('patched');
    const patch = { name: ' New name ', limits: { users: 3 }, legalHold: { reason: 'case 4711' } };
    const { body } = await service.operator().patch(at(tenant.slug)).send(patch).expect(200);
    expect(body).toMatchObject({
      ...patch,
      name: 'New name',
      slug: tenant.slug,
      status: 'active',
      version: 2,
    });
    await service.operator().patch(at(tenant.slug)).send({ legalHold: null }).expect(200);
    const { body: after } = await service.operator().get(at(tenant.slug)).expect(200);
    expect(after).toMatchObject({ name: 'New name', limits: { users: 3 }, legalHold: null, version: 3 });
  });
});

describe('what is refused', () => {
  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await service.onboard('refused', 'shared');
  });

  it('is a move that the state does not allow, with those that it does', async () => {
    await unchanged(database, async () => {
      for (const action of ['resume', 'restore']) {
        const answer = await act(tenant.slug, action);
        expectProblem(answer, 409, 'illegal_state', []);
        expect((answer.body as { detail: string }).detail).toBe(
          'The tenant is active, which allows update, suspend, delete.',
        );
      }
    });
    await service.operator().delete(at(tenant.slug)).expect(204);
    for (const action of ['suspend', 'resume']) {
      expectProblem(await act(tenant.slug, action), 409, 'illegal_state', []);
    }
    expectProblem(await service.operator().delete(at(tenant.slug)), 409, 'illegal_state', []);
    await act(tenant.slug, 'restore').expect(200);
  });

  it.each([
    [{}, ['']],
    [{ slug: 'another' }, ['', '/slug']],
    [{ status: 'suspended' }, ['', '/status']],
    [{ isolation: 'schema' }, ['', '/isolation']],
    [{ name: '' }, ['/name']],
    [{ limits: { users: 0 } }, ['/limits/users']],
    [{ legalHold: {} }, ['/legalHold/reason']],
    [{ legalHold: { reason: ' ' } }, ['/legalHold/reason']],
  ])('is the patch %j', async (patch, pointers) => {
    await unchanged(database, async () => {
      expectProblem(
        await service.operator().patch(at(tenant.slug)).send(patch),
        400,
        'invalid_input',
        pointers,
      );
    });
  });

  it('is an unknown tenant, a body where none is taken, and a caller who is no operator', async () => {
    await unchanged(database, async () => {
      for (const action of ['suspend', 'resume', 'restore']) {
        expectProblem(await act('nobody', action), 404, 'not_found', []);
        expectProblem(await act('%00', action), 404, 'not_found', []);
        expectProblem(await act(tenant.slug, action).send({ now: true }), 400, 'invalid_input', ['']);
        expectProblem(await service.admin().post(at(tenant.slug, action)), 401, 'unauthenticated', []);
        expectProblem(
          await service.admin().auth(tenant.token, { type: 'bearer' }).post(at(tenant.slug, action)),
          401,
          'unauthenticated',
          [],
        );
      }
      expectProblem(await service.operator().delete(at('nobody')), 404, 'not_found', []);
    });
  });
});

describe('another process, which has no way to the control plane', () => {
  let other: Tenantry;
  beforeAll(async () => {
    const config = testConfig(database, { DATABASE_ADMIN_URL: '' });
    other = build(config, { logger: pino({ level: 'silent' }) });
    await other.start();
  });
  afterAll(() => other.stop());

  it('knows of every change soon, without being told', async () => {
    const tenant = await service.onboard('far-away', 'schema');
    const asks = () => request(other.tenantApp).get('/v1/products').auth(tenant.token, { type: 'bearer' });
    await asks().expect(200);
    for (const [action, status] of [
      ['suspend', 403],
      ['resume', 200],
    ] as const) {
      await act(tenant.slug, action).expect(200);
      await until(async () => (await asks()).status === status, `${action} to arrive`);
    }
    await service.operator().delete(at(tenant.slug)).expect(204);
    await until(async () => (await asks()).status === 401, 'the deletion to arrive');
    await act(tenant.slug, 'restore').expect(200);
    await until(async () => (await asks()).status === 200, 'the restoration to arrive');
  });

  it('asks for a tenant once, however many requests there are, as long as nothing changes', async () => {
    const tenant = await service.onboard('busy', 'shared');
    await other.data.directory.refresh();
    const entry = await other.data.directory.find(tenant.slug);
    expect(entry?.status).toBe('active');
    const again = await other.data.directory.find(tenant.slug);
    expect(again).toBe(entry); // the very same object
    await service.onboard('somebody-else', 'shared');
    await other.data.directory.refresh();
    expect(await other.data.directory.find(tenant.slug)).toBe(entry);
    await act(tenant.slug, 'suspend').expect(200);
    await other.data.directory.refresh();
    expect((await other.data.directory.find(tenant.slug))?.status).toBe('suspended');
  });
});
