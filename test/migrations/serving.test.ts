import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import request from 'supertest';
import { build, type Tenantry } from '../../src/build.ts';
import { createTestClock } from '../support/clock.ts';
import { withConnection } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { useFleet } from '../support/fleet.ts';
import { stepsOf } from '../support/ladders.ts';
import { createLogLines } from '../support/log-lines.ts';
import { expectProblem } from '../support/problem.ts';
import { password, testConfig, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

/** Tenants are served while their schemas are migrated, or told that they are not: 503, and never an error of SQL. */
const database = useDatabase();
const clock = createTestClock();
const log = createLogLines();
const service = useTenantry(database, { overrides: { clock, logger: log.logger } });
const newest = (await stepsOf('tenant')).at(-1) ?? '';
const contract = '9999_what_was_needed_goes';

/** As a migration notes it, and nothing else: no epoch tells. */
const note = (schema: string, columns: { version?: string; needs?: string | null }) =>
  database.superuser(
    `update control.schema_versions set version = coalesce($2, version), needs = $3 where schema_name = $1`,
    [schema, columns.version, columns.needs],
  );
/** Processes look up the tenants of the schema anew. */
const told = async (schema: string) => {
  await database.superuser('update control.tenants set name = name where schema_name = $1', [schema]);
  await service.tenantry.data.directory.refresh();
};

const login = (tenant: Pick<TestTenant, 'slug' | 'ownerEmail'>) =>
  service
    .api()
    .post('/v1/auth/login')
    .set('X-Tenant-ID', tenant.slug)
    .send({ email: tenant.ownerEmail, password });
let made = 0;
const product = () => ({ sku: `S-${(made += 1)}`, name: 'Saw', priceCents: 1, stock: 9 });

async function keyOf({ client }: TestTenant): Promise<string> {
  const { body } = await client
    .post('/v1/api-keys')
    .send({ name: 'k', scopes: ['read', 'write'] })
    .expect(201);
  return (body as { key: string }).key;
}

async function actingToken({ slug }: TestTenant): Promise<string> {
  const act = service.operator().post(`/admin/v1/tenants/${slug}/act`);
  const { body } = await act.send({ reason: 'to see how it goes' }).expect(200);
  return (body as { accessToken: string }).accessToken;
}

/** What a request that was refused has left in the log. */
function causeOf(requestId: string): unknown {
  const line = log.lines().find((entry) => entry['requestId'] === requestId && 'cause' in entry);
  return line?.['cause'];
}

describe.each(['shared', 'schema'] as const)('a tenant with isolation %s', (isolation) => {
  let tenant: TestTenant;
  let other: TestTenant;
  let schema: string;
  let key: string;
  let acting: string;
  beforeAll(async () => {
    tenant = await service.onboard(`ranged_${isolation}`, isolation);
    other = await service.onboard(`beside_${isolation}`, isolation === 'shared' ? 'schema' : 'shared');
    ({ schema } = tenant.scope.tenant);
    key = await keyOf(tenant);
    acting = await actingToken(tenant);
  });

  const as = (token: string) => service.api().auth(token, { type: 'bearer' });
  const ways: [string, () => request.Test][] = [
    ['a login', () => login(tenant)],
    ['a refresh', () => service.api().post('/v1/auth/refresh').send({ refreshToken: tenant.refreshToken })],
    ['a logout', () => service.api().post('/v1/auth/logout').send({ refreshToken: tenant.refreshToken })],
    ['a read', () => tenant.client.get('/v1/products')],
    ['a write', () => tenant.client.post('/v1/products').send(product())],
    ['a header that names another tenant', () => tenant.client.get('/v1/me').set('X-Tenant-ID', other.slug)],
    ['an API key', () => as(key).get('/v1/products')],
    ['an API key that is wrong', () => as(`${key.slice(0, -50)}${'0'.repeat(50)}`).get('/v1/products')],
    ['an operator who acts for it', () => as(acting).get('/v1/products')],
    [
      'an operator who wants to act for it',
      () => service.operator().post(`/admin/v1/tenants/${tenant.slug}/act`).send({ reason: 'to look at it' }),
    ],
  ];

  it.each([
    [
      'behind what this build needs',
      { version: '0001_users_products_orders', needs: null },
      /^the schema is at 0001_users_products_orders, and this build needs /,
    ],
    [
      'ahead of what this build knows',
      { version: '9999_newer', needs: contract },
      new RegExp(`^the schema is for builds that know ${contract}, and this one ends at ${newest}$`),
    ],
  ])('is refused, whoever asks for what, while its schema is %s', async (_, state, why) => {
    await note(schema, state);
    await told(schema);
    let asked = 0;
    for (const [way, ask] of ways) {
      const requestId = `${isolation}-${state.version}-${(asked += 1)}`;
      const answer = await ask().set('X-Request-Id', requestId);
      expect([way, answer.status, answer.headers['retry-after']]).toEqual([way, 503, '1']);
      expectProblem(answer, 503, 'tenant_migrating', []);
      expect(answer.headers['x-request-id']).toBe(requestId);
      // No statement of it has come to its tables.
      expect(causeOf(requestId)).toEqual({ message: expect.stringMatching(why) });
    }
    await other.client.get('/v1/products').expect(200);
    await other.client.post('/v1/products').send(product()).expect(201);
    await login(other).expect(200);

    await database.superuser(
      'update control.schema_versions set version = $2, needs = null where schema_name = $1',
      [schema, newest],
    );
    clock.advance(1000);
    await tenant.client.get('/v1/products').expect(200);
    await tenant.client.post('/v1/products').send(product()).expect(201);
    await as(key).get('/v1/products').expect(200);
    await login(tenant).expect(200);
  });

  it('is served at versions that this build does not know, when it need not know them', async () => {
    await note(schema, { version: '9998_one_more_column', needs: newest });
    await told(schema);
    await tenant.client.get('/v1/products').expect(200);
    await login(tenant).expect(200);
    await note(schema, { version: newest, needs: null });
  });

  it('is served when nobody has noted its version', async () => {
    const [row] = await database.superuser<{ version: string }>(
      'delete from control.schema_versions where schema_name = $1 returning version',
      [schema],
    );
    await told(schema);
    await tenant.client.get('/v1/products').expect(200);
    await database.superuser('insert into control.schema_versions (schema_name, version) values ($1, $2)', [
      schema,
      row?.version,
    ]);
  });
});

describe('beside a newer build, which knows the step', () => {
  const step = '9990_what_was_needed_goes';
  const fleet = useFleet(database);
  let newer: Tenantry;
  let tenant: TestTenant;
  const schema = 'tenant_rolled';
  beforeAll(async () => {
    tenant = await service.onboard('rolled', 'schema');
    await fleet.addFile('tenant', step, { more: 'export const contract = true;' });
    const { folder } = await fleet.older();
    newer = build(testConfig(database, { DATABASE_ADMIN_URL: '' }), {
      clock,
      logger: log.logger,
      migrationsFolder: folder,
    });
    await newer.start();
  });
  afterAll(() => newer.stop());
  const byTheNewer = () =>
    request(newer.tenantApp).get('/v1/products').auth(tenant.token, { type: 'bearer' });

  it('both serve a tenant until the step is announced, and the newer one from then on', async () => {
    await tenant.client.get('/v1/products').expect(200);
    await byTheNewer().expect(200);
    await note(schema, { needs: step });
    await told(schema);
    clock.advance(1000);
    expectProblem(await tenant.client.get('/v1/products'), 503, 'tenant_migrating', []);
    await byTheNewer().expect(200);
    await note(schema, { needs: null });
    clock.advance(1000);
    await tenant.client.get('/v1/products').expect(200);
  });

  it('what the newer one asks for and is still to be made is no fault, and is one once it should be there', async () => {
    await database.superuser(`alter table ${schema}.products rename column sku to older`);
    await database.caughtUp();
    try {
      expectProblem(await tenant.client.get('/v1/products'), 500, 'internal', []);
      for (let times = 0; times < 2; times += 1) {
        expectProblem(await byTheNewer(), 503, 'tenant_migrating', []);
      }
      await note(schema, { version: step, needs: null });
      expectProblem(await byTheNewer(), 503, 'tenant_migrating', []);
      expectProblem(await byTheNewer(), 500, 'internal', []);
    } finally {
      await database.superuser(`alter table ${schema}.products rename column older to sku`);
      await database.caughtUp();
    }
    await byTheNewer().expect(200);
  });
});

describe('a statement that does not fit the tables', () => {
  let tenant: TestTenant;
  const schema = 'tenant_unfit';
  beforeAll(async () => {
    tenant = await service.onboard('unfit', 'schema');
  });

  async function withColumnGone<T>(fn: () => Promise<T>): Promise<T> {
    await tenant.client.get('/v1/products').expect(200);
    await database.superuser(`alter table ${schema}.products rename column sku to gone`);
    await database.caughtUp(); // a replica that is behind has it still
    try {
      return await fn();
    } finally {
      await note(schema, { version: newest, needs: null });
      await database.superuser(`alter table ${schema}.products rename column gone to sku`);
      await database.caughtUp();
      await told(schema);
      clock.advance(1000);
      await tenant.client.get('/v1/products').expect(200);
    }
  }

  it.each([
    ['a read', () => tenant.client.get('/v1/products')],
    ['a write', () => tenant.client.post('/v1/products').send(product())],
  ])('because of a step that this build should know is no fault: %s', async (way, ask) => {
    await withColumnGone(async () => {
      await note(schema, { needs: contract });
      const requestId = `unfit-${way.replaceAll(' ', '-')}`;
      const answer = await ask().set('X-Request-Id', requestId);
      expectProblem(answer, 503, 'tenant_migrating', []);
      expect(answer.headers['retry-after']).toBe('1');
      expect(answer.text).not.toMatch(/column|sku|42703|select|tenant_unfit/i);
      expect(causeOf(requestId)).toMatchObject({ code: '42703' });
      // From then on it is not asked any more.
      expectProblem(await ask().set('X-Request-Id', `${requestId}-2`), 503, 'tenant_migrating', []);
      expect(causeOf(`${requestId}-2`)).toEqual({ message: expect.stringContaining(contract) });
    });
  });

  it('after a migration is answered with 503 once; when it still does not fit, it is a fault', async () => {
    await withColumnGone(async () => {
      await note(schema, { version: '9998_sku_has_another_name', needs: null });
      expectProblem(await tenant.client.get('/v1/products'), 503, 'tenant_migrating', []);
      const answer = await tenant.client.get('/v1/products').set('X-Request-Id', 'a-fault');
      expectProblem(answer, 500, 'internal', []);
      expect(answer.headers).not.toHaveProperty('retry-after');
      expect(causeOf('a-fault')).toMatchObject({ code: '42703' });
    });
  });

  it('for no such reason is a fault, and the tenant is served where it fits', async () => {
    await withColumnGone(async () => {
      for (let times = 0; times < 3; times += 1) {
        expectProblem(await tenant.client.get('/v1/products'), 500, 'internal', []);
        await tenant.client.get('/v1/orders').expect(200);
      }
    });
  });

  it('in the midst of a unit of work leaves nothing of it', async () => {
    const { body } = await tenant.client.post('/v1/products').send(product()).expect(201);
    const { id } = body as { id: string };
    const order = tenant.client.post('/v1/orders').send({ lines: [{ productId: id, quantity: 2 }] });
    await withConnection(database.superuserUrl(), async (client) => {
      // The step has begun, and the request is let in: it waits for the table of the step.
      await client.query(`begin; alter table ${schema}.order_lines rename column quantity to pieces`);
      const answering = order.then((answer) => answer);
      await until(async () => {
        const waiting = await database.superuser(
          `select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`,
        );
        return waiting.length > 0;
      }, 'the order to wait');
      await client.query(
        `update control.schema_versions set needs = '${contract}' where schema_name = '${schema}'; commit`,
      );
      expectProblem(await answering, 503, 'tenant_migrating', []);
    });
    await database.superuser(`alter table ${schema}.order_lines rename column pieces to quantity`);
    await database.caughtUp();
    await note(schema, { needs: null });
    clock.advance(1000);
    const product9 = await tenant.client.get(`/v1/products/${id}`).expect(200);
    expect(product9.body).toMatchObject({ stock: 9 });
    expect((await tenant.client.get('/v1/orders').expect(200)).body).toMatchObject({ data: [] });
  });

  it('tells nobody which tenants there are', async () => {
    await database.superuser('alter table shared.users rename column email to gone');
    await database.caughtUp();
    try {
      const answer = await login({ slug: 'nobody-has-this-slug', ownerEmail: 'a@b.test' });
      expectProblem(answer, 503, 'tenant_migrating', []);
    } finally {
      await database.superuser('alter table shared.users rename column gone to email');
      await database.caughtUp();
    }
  });
});
