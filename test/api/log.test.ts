import { beforeAll, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { createLogLines } from '../support/log-lines.ts';
import { expectProblem } from '../support/problem.ts';
import { password, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

const database = useDatabase();
const log = createLogLines();
const service = useTenantry(database, { overrides: { logger: log.logger } });

describe('the log', () => {
  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await service.onboard('log_test', 'shared');
  });

  /** The line of a request; it is written once the answer has been sent. */
  async function lineOf(requestId: string): Promise<Record<string, unknown>> {
    const find = () => log.lines().find((line) => line['requestId'] === requestId && 'status' in line);
    await until(() => find() !== undefined, `the line of ${requestId}`);
    return find() ?? {};
  }

  it('has a line for each request with its id, tenant, actor, node and status', async () => {
    await tenant.client.get('/v1/products?filter[name]=Personal').set('X-Request-Id', 'a-read').expect(200);
    const { id } = tenant.scope.actor;
    expect(await lineOf('a-read')).toMatchObject({
      level: 30,
      requestId: 'a-read',
      method: 'GET',
      path: '/v1/products',
      status: 200,
      tenant: tenant.id,
      actor: `user:${id}`,
      node: expect.stringMatching(/^(primary|replica-1)$/),
      reason: expect.any(String),
      ms: expect.any(Number),
      databaseMs: expect.any(Number),
    });
    await tenant.client
      .post('/v1/products')
      .set('X-Request-Id', 'a-write')
      .send({ sku: 'L', name: 'Personal', priceCents: 1, stock: 1 })
      .expect(201);
    expect(await lineOf('a-write')).toMatchObject({ tenant: tenant.id, node: 'primary', reason: 'write' });
    expect(log.text()).not.toContain('Personal');
  });

  it('has one for a request that is refused, and none for a probe', async () => {
    await service.api().get('/v1/products').set('X-Request-Id', 'refused').expect(401);
    const line = await lineOf('refused');
    expect(line).toMatchObject({ status: 401, path: '/v1/products' });
    expect(line).not.toHaveProperty('tenant');
    await service.api().get('/livez').set('X-Request-Id', 'a-probe').expect(200);
    await service.api().get('/nothing').set('X-Request-Id', 'after-it').expect(404);
    await lineOf('after-it');
    expect(log.text()).not.toContain('a-probe');
  });

  it('names the trace that the caller says the request belongs to, and no other', async () => {
    const id = '4bf92f3577b34da6a3ce929d0e0e4736';
    const send = (requestId: string, traceparent: string) =>
      tenant.client.get('/v1/products').set({ traceparent, 'X-Request-Id': requestId }).expect(200);
    await send('in-a-trace', `00-${id}-00f067aa0ba902b7-01`);
    expect(await lineOf('in-a-trace')).toMatchObject({ trace_id: id });
    await send('in-none', `00-${id}-and so on`);
    expect(await lineOf('in-none')).not.toHaveProperty('trace_id');
  });

  it('tells the auditor of a header that claims another tenant', async () => {
    await tenant.client
      .get('/v1/products')
      .set({ 'X-Tenant-ID': 'somebody-else', 'X-Request-Id': 'spoofed' })
      .expect(403);
    await lineOf('spoofed');
    expect(log.lines()).toContainEqual(
      expect.objectContaining({
        audit: 'tenant_mismatch',
        requestId: 'spoofed',
        tenant: tenant.id,
        claimed: 'somebody-else',
      }),
    );
  });

  it('holds the cause of a failure of ours, which the answer does not', async () => {
    await database.superuser('alter table shared.products rename column sku to moved');
    try {
      const product = { sku: 'L-1', name: 'x', priceCents: 1, stock: 1 };
      const answer = await tenant.client.post('/v1/products').set('X-Request-Id', 'broken').send(product);
      expectProblem(answer, 500, 'internal', []);
      expect(answer.text).not.toMatch(/column|sku|42703|select|shared/i);
      await lineOf('broken');
      const line = log.lines().find((entry) => entry['requestId'] === 'broken' && 'cause' in entry);
      expect(line).toMatchObject({ level: 50, cause: { code: '42703' } });
    } finally {
      await database.superuser('alter table shared.products rename column moved to sku');
    }
  });

  it('never holds a password, a token, a key or a hash', async () => {
    const secret = 'the secret of somebody';
    await tenant.client.post('/v1/users').send({ email: 's@log.test', password: secret }).expect(201);
    const login = service.api().post('/v1/auth/login').set('X-Tenant-ID', tenant.slug);
    const { body } = await login.send({ email: 's@log.test', password: secret }).expect(200);
    const { accessToken, refreshToken } = body as { accessToken: string; refreshToken: string };
    await service.api().post('/v1/auth/refresh').send({ refreshToken }).expect(200);
    await service
      .api()
      .post('/v1/auth/refresh')
      .send({ refreshToken: `${refreshToken}x` })
      .expect(401);
    await tenant.client.post('/v1/users').type('json').send(`{"password":"${secret}"`).expect(400);
    await tenant.client.post('/v1/users').send({ password: secret, secret }).expect(400);
    await service
      .api()
      .get(`/v1/me?access_token=${accessToken}`)
      .auth(`${accessToken}x`, { type: 'bearer' })
      .set('X-Request-Id', 'last')
      .expect(401);
    await lineOf('last');
    const hashes = await database.superuser<{ hash: string }>(
      `select password_hash as hash from shared.users union all select token_hash from shared.refresh_tokens
       union all select secret_hash from shared.api_keys`,
    );
    const secrets = [secret, password, 'operator of tests', accessToken, refreshToken, tenant.token];
    for (const text of [...secrets, ...hashes.map(({ hash }) => hash)])
      expect(log.text()).not.toContain(text);
    expect(log.text()).not.toMatch(/postgres(ql)?:\/\/|authorization/i);
  });
});
