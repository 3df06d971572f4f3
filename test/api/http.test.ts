import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { replicasFresh, startTenantry, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { forbidChanges } from '../support/untouched.ts';
import { useWire } from '../support/wire.ts';

const database = useDatabase();
const service = useTenantry(database, { env: { CORS_ORIGINS: 'https://app.test, https://other.test' } });
const wire = useWire(() => service.tenantry.tenantApp);

const product = { sku: 'H', name: 'Saw', priceCents: 1, stock: 1 };

describe('the tenant API, as HTTP,', () => {
  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await service.onboard('http_test', 'shared');
  });
  forbidChanges(database);

  const post = (type: string, body: string | Buffer, ...headers: string[]) =>
    wire.send({
      method: 'POST',
      path: '/v1/products',
      headers: ['Authorization', `Bearer ${tenant.token}`, 'Content-Type', type, ...headers],
      body,
    });

  it('answers an unknown address with 404', async () => {
    for (const path of ['/', '/v1', '/v2/products', '/v1/invoices', '/.env', '/V1/nothing']) {
      expectProblem(await service.api().get(path), 404, 'not_found', []);
      expectProblem(await service.api().post(path).send({}), 404, 'not_found', []);
    }
    expectProblem(await tenant.client.get(`/v1/products/${tenant.id}/nothing`), 404, 'not_found', []);
  });

  it('answers an unknown method with 405 and says which ones there are', async () => {
    const id = tenant.id;
    for (const [method, path, allow] of [
      ['put', '/v1/products', 'GET, HEAD, OPTIONS, POST'],
      ['delete', '/v1/products', 'GET, HEAD, OPTIONS, POST'],
      ['put', `/v1/products/${id}`, 'DELETE, GET, HEAD, OPTIONS, PATCH'],
      ['post', `/v1/products/${id}`, 'DELETE, GET, HEAD, OPTIONS, PATCH'],
      ['get', `/v1/products/${id}/restore`, 'OPTIONS, POST'],
      ['get', `/v1/orders/${id}/cancel`, 'OPTIONS, POST'],
      ['delete', '/v1/me', 'GET, HEAD, OPTIONS'],
      ['get', '/v1/auth/login', 'OPTIONS, POST'],
      ['post', '/livez', 'GET, HEAD, OPTIONS'],
    ] as const) {
      const answer = await tenant.client[method](path);
      expectProblem(answer, 405, 'method_not_allowed', []);
      expect(answer.headers['allow']).toBe(allow);
    }
  });

  it('answers OPTIONS with the methods, and HEAD like GET without a body', async () => {
    const options = await tenant.client.options('/v1/products').expect(204);
    expect(options.headers['allow']).toBe('GET, HEAD, OPTIONS, POST');
    const get = await tenant.client.get('/v1/products').expect(200);
    const head = await tenant.client.head('/v1/products').expect(200);
    expect(head.text ?? '').toBe('');
    expect(head.headers['content-length']).toBe(get.headers['content-length']);
    await tenant.client.head(`/v1/products/${tenant.id}`).expect(404);
  });

  it('takes a body of a megabyte and no more, packed or not', async () => {
    const ofSize = (bytes: number) => JSON.stringify({ ...product, description: 'x'.repeat(bytes) });
    expectProblem(await post('application/json', ofSize(10_000_000)), 413, 'payload_too_large', []);
    expectProblem(await post('application/json', ofSize(1_000_000)), 400, 'invalid_input', ['/description']);
    const bomb = gzipSync(ofSize(50_000_000));
    expectProblem(
      await post('application/json', bomb, 'Content-Encoding', 'gzip'),
      413,
      'payload_too_large',
      [],
    );
  });

  it('takes JSON and nothing else', async () => {
    const text = JSON.stringify(product);
    for (const type of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      'application/xml',
      'application/json; charset=latin1',
      'application/jsonx',
      '',
    ]) {
      expectProblem(await post(type, text), 415, 'unsupported_media_type', []);
    }
    expectProblem(
      await post('application/json', text, 'Content-Encoding', 'zip'),
      415,
      'unsupported_media_type',
      [],
    );
  });

  it.each([
    ['half an object', '{"sku":'],
    ['a trailing comma', '{"sku":"x",}'],
    ['single quotation marks', "{'sku':'x'}"],
    ['text after the end', '{} {}'],
    ['a string', '"text"'],
    ['null', 'null'],
    ['a number', '1'],
    ['bytes that are no text', Buffer.from([0xff, 0xfe, 0x00])],
    ['JavaScript', '{"sku": NaN}'],
  ])('refuses %s as malformed', async (_what, body) => {
    expectProblem(await post('application/json', body), 400, 'malformed_json', []);
  });

  it('refuses a packed body that cannot be unpacked', async () => {
    const answer = await post('application/json', 'not packed', 'Content-Encoding', 'gzip');
    expectProblem(answer, 400, 'invalid_input', []);
  });

  it('refuses a path that cannot be decoded, or holds NUL', async () => {
    for (const path of ['/v1/products/%E0%A4%A', '/v1/products/%', '/v1/products/%ED%A0%80']) {
      expectProblem(await tenant.client.get(path), 400, 'invalid_input', []);
    }
    expectProblem(await tenant.client.get('/v1/products/%00'), 400, 'invalid_input', ['id']);
  });

  it('keeps a well-formed request id and replaces any other', async () => {
    const good = ['a', 'A-b_c.9', 'x'.repeat(128)];
    const bad = ['', 'a b', 'x'.repeat(129), 'ü', 'a;b', '<script>', '../x'];
    const idOf = async (id: string) => {
      const headers = ['X-Request-Id', Buffer.from(id).toString('latin1')];
      const answer = await wire.send({ path: '/v1/products', headers });
      expectProblem(answer, 401, 'unauthenticated'); // its requestId is the header's, too
      return answer.headers['x-request-id'];
    };
    for (const id of good) expect(await idOf(id)).toBe(id);
    for (const id of bad) expect(await idOf(id)).toMatch(/^[\da-f-]{36}$/);
    const twice = await wire.send({ path: '/livez', headers: ['X-Request-Id', 'a', 'X-Request-Id', 'b'] });
    expect(twice.headers['x-request-id']).toMatch(/^[\da-f-]{36}$/);
    const none = await Promise.all([wire.send({ path: '/livez' }), wire.send({ path: '/livez' })]);
    expect(none[0].headers['x-request-id']).not.toBe(none[1].headers['x-request-id']);
  });

  it('protects every answer, lets no cache keep it and tells how long it took', async () => {
    for (const answer of [
      await tenant.client.get('/v1/products').expect(200),
      await service.api().get('/v1/products').expect(401),
      await service.api().get('/nothing').expect(404),
      await service.admin().get('/admin/v1/tenants').expect(401),
      await service.operator().get('/admin/v1/tenants').expect(200),
      await service.api().get('/livez').expect(200),
    ]) {
      expect(answer.headers).toMatchObject({
        'cache-control': 'private, no-store',
        vary: expect.stringMatching(/^Authorization, X-Tenant-ID/),
        'x-content-type-options': 'nosniff',
        'strict-transport-security': expect.stringMatching(/^max-age=\d+/),
        'content-security-policy': expect.stringContaining("default-src 'self'"),
        'x-frame-options': 'SAMEORIGIN',
        'referrer-policy': 'no-referrer',
        'server-timing': expect.stringMatching(/^total;dur=\d+\.\d, db;dur=\d+\.\d$/),
      });
      expect(answer.headers).not.toHaveProperty('x-powered-by');
      expect(answer.headers).not.toHaveProperty('etag');
    }
  });

  it('says which node answered, and why', async () => {
    const servedBy = async (path: string) => (await tenant.client.get(path)).headers['served-by'];
    await replicasFresh(service);
    expect(await servedBy('/v1/products')).toMatch(
      /^(replica-1; reason=(?:fresh|caught-up); lag=\d+|primary; reason=no-replica)$/,
    );
    expect(await servedBy('/v1/me')).toBe('primary; reason=strong');
  });

  it('is open to pages of the listed origins and of no other', async () => {
    const preflight = (origin: string) =>
      service
        .api()
        .options('/v1/products')
        .set({ Origin: origin, 'Access-Control-Request-Method': 'PATCH' })
        .expect(204);
    for (const origin of ['https://app.test', 'https://other.test']) {
      const { headers } = await preflight(origin);
      expect(headers['access-control-allow-origin']).toBe(origin);
      expect(headers['access-control-allow-methods']).toContain('PATCH');
      expect(headers['access-control-allow-headers']).toContain('X-Tenant-ID');
      const answer = await tenant.client.get('/v1/products').set('Origin', origin).expect(200);
      expect(answer.headers['access-control-allow-origin']).toBe(origin);
      expect(answer.headers['access-control-expose-headers']).toContain('Served-By');
      expect(answer.headers['vary']).toContain('Origin');
      expect(answer.headers).not.toHaveProperty('access-control-allow-credentials');
    }
    for (const origin of ['https://evil.test', 'http://app.test', 'https://app.test.evil.test', 'null']) {
      expect((await preflight(origin)).headers).not.toHaveProperty('access-control-allow-origin');
      const answer = await tenant.client.get('/v1/products').set('Origin', origin).expect(200);
      expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
    }
    const admin = await service.operator().get('/admin/v1/cluster').set('Origin', 'https://app.test');
    expect(admin.headers).not.toHaveProperty('access-control-allow-origin');
  });
});

describe('the health of the service', () => {
  it('is told without credentials on both ports', async () => {
    await replicasFresh(service);
    for (const agent of [service.api(), service.admin()]) {
      await agent.get('/livez').expect(200, { status: 'ok' });
      const { body } = await agent.get('/readyz').expect(200);
      expect(body).toMatchObject({ status: 'ok', nodes: { primary: 'fresh' } });
    }
  });

  it('says at the end that it is draining, and asks clients to connect elsewhere', async () => {
    const ending = await startTenantry(database);
    try {
      ending.tenantry.beginDraining();
      const ready = await ending.api().get('/readyz').expect(503);
      expect(ready.body).toMatchObject({ status: 'draining' });
      expect(ready.headers['connection']).toBe('close');
      await ending.api().get('/livez').expect(200);
      expectProblem(await ending.api().get('/v1/me'), 401, 'unauthenticated');
    } finally {
      await ending.tenantry.stop();
    }
  });
});
