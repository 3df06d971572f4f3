import { beforeAll, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { answersIn, untilClosed, useRawServer } from '../support/raw.ts';
import { startTenantry, type TestTenant, useTenantry } from '../support/tenantry.ts';
import type { Answer } from '../support/wire.ts';

/** No cache may keep an answer for somebody else, and no page read one that is not for it; whatever the answer is. */
const database = useDatabase();
const service = useTenantry(database, { env: { CORS_ORIGINS: 'https://app.test' } });
const raw = useRawServer(() => service.tenantry.tenantApp);

const product = { sku: 'HEADERS', name: 'Saw', priceCents: 1, stock: 1 };
const id = '01900000-0000-7000-8000-000000000000';

let tenant: TestTenant;
let limited: TestTenant;
beforeAll(async () => {
  tenant = await service.onboard('headers', 'shared');
  // One for its login's check of who it is.
  limited = await service.onboard('headers_limited', 'shared', { requestsPerMinute: 1 });
});

function expectKept({ headers }: Pick<Answer, 'headers'>, vary: string): void {
  expect(headers).toMatchObject({
    'cache-control': 'private, no-store',
    vary,
    'x-content-type-options': 'nosniff',
    'x-request-id': expect.any(String),
  });
  expect(headers).not.toHaveProperty('access-control-allow-credentials');
}

type Ask = () => PromiseLike<Answer>;

const tenantAnswers: [number, string, Ask][] = [
  [200, 'a list', () => tenant.client.get('/v1/products')],
  [201, 'what was made', () => tenant.client.post('/v1/products').send(product)],
  [204, 'the methods', () => tenant.client.options('/v1/products')],
  [
    304,
    'what the client has',
    () => tenant.client.get(`/v1/users/${tenant.scope.actor.id}`).set('If-None-Match', '*'),
  ],
  [
    412,
    'a change since',
    () =>
      tenant.client.patch(`/v1/users/${tenant.scope.actor.id}`).set('If-Match', '"x"').send({ name: 'x' }),
  ],
  [400, 'a bad field', () => tenant.client.post('/v1/products').send({})],
  [400, 'broken JSON', () => tenant.client.post('/v1/products').type('json').send('{')],
  [401, 'no credential', () => service.api().get('/v1/products')],
  [403, 'another tenant', () => tenant.client.get('/v1/products').set('X-Tenant-ID', 'other')],
  [404, 'nothing', () => tenant.client.get(`/v1/products/${id}`)],
  [404, 'no route', () => service.api().get('/nothing')],
  [405, 'no method', () => tenant.client.put('/v1/products').send({})],
  [409, 'a conflict', () => tenant.client.post('/v1/products').send(product)],
  [413, 'a large body', () => tenant.client.post('/v1/products').send({ x: 'x'.repeat(1_100_000) })],
  [414, 'a long address', () => tenant.client.get(`/v1/products?${'x'.repeat(9000)}`)],
  [415, 'another type', () => tenant.client.post('/v1/products').type('text').send('x')],
  [429, 'too many', () => limited.client.get('/v1/products')],
  [200, 'its health', () => service.api().get('/livez')],
];

const adminAnswers: [number, string, Ask][] = [
  [200, 'a list', () => service.operator().get('/admin/v1/tenants')],
  [200, 'figures', () => service.admin().get('/metrics')],
  [400, 'a bad field', () => service.operator().post('/admin/v1/tenants').send({})],
  [401, 'no credential', () => service.admin().get('/admin/v1/tenants')],
  [404, 'nothing', () => service.operator().get('/admin/v1/tenants/no-such-tenant')],
  [405, 'no method', () => service.operator().put('/admin/v1/tenants').send({})],
  [
    413,
    'a large body',
    () =>
      service
        .operator()
        .post('/admin/v1/tenants')
        .send({ x: 'x'.repeat(1_100_000) }),
  ],
  [415, 'another type', () => service.operator().post('/admin/v1/tenants').type('text').send('x')],
];

describe('the tenant API', () => {
  it.each(tenantAnswers)(
    'answers %i (%s) for this caller and this origin alone',
    async (status, _what, ask) => {
      const answer = await ask();
      expect(answer.status).toBe(status);
      expectKept(answer, 'Authorization, X-Tenant-ID, Origin');
      expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
    },
  );

  it('answers 503 so, too, when it is ending', async () => {
    const ending = await startTenantry(database, { env: { CORS_ORIGINS: 'https://app.test' } });
    try {
      ending.tenantry.beginDraining();
      for (const [agent, vary] of [
        [ending.api(), 'Authorization, X-Tenant-ID, Origin'],
        [ending.admin(), 'Authorization, X-Tenant-ID'],
      ] as const) {
        expectKept(await agent.get('/readyz').expect(503), vary);
      }
    } finally {
      await ending.tenantry.stop();
    }
  });

  it('answers what is no request so', async () => {
    const [answer] = await raw.talk('BREW /livez HTTP/1.1\r\n\r\n');
    if (answer === undefined) throw new Error('There was no answer');
    expectKept(answer, 'Authorization, X-Tenant-ID');
    const socket = await raw.open();
    const everything = untilClosed(socket);
    socket.write(`GET /livez HTTP/1.1\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`);
    for (const large of answersIn(await everything)) expectKept(large, 'Authorization, X-Tenant-ID');
  });

  it('lets a page of a listed origin read every answer, and a page of any other none', async () => {
    const asks = (origin: string) => [
      () => tenant.client.get('/v1/products').set('Origin', origin),
      () => service.api().get('/v1/products').set('Origin', origin),
      () => tenant.client.post('/v1/products').set('Origin', origin).type('text').send('x'),
      () => tenant.client.post('/v1/products').set('Origin', origin).type('json').send('{'),
      () => tenant.client.get('/nothing').set('Origin', origin),
      () => tenant.client.get(`/v1/products?${'x'.repeat(9000)}`).set('Origin', origin),
      () => limited.client.get('/v1/products').set('Origin', origin),
    ];
    for (const ask of asks('https://app.test')) {
      const { headers } = await ask();
      expect(headers['access-control-allow-origin']).toBe('https://app.test');
      expect(headers['vary']).toBe('Authorization, X-Tenant-ID, Origin');
    }
    for (const origin of [
      ...['null', '*', 'https://APP.test', 'https://app.test:8443', 'https://app.test.', 'http://app.test'],
      ...['https://app.test@evil.test', 'https://evil.test#https://app.test', 'https://sub.app.test'],
    ]) {
      for (const ask of asks(origin)) {
        const { headers } = await ask();
        expect(headers).not.toHaveProperty('access-control-allow-origin');
        expect(headers['vary']).toBe('Authorization, X-Tenant-ID, Origin');
      }
    }
  });

  it('answers a preflight without asking anybody else, and says what it depends on', async () => {
    const preflight = (origin: string) =>
      service
        .api()
        .options('/v1/products')
        .set({ Origin: origin, 'Access-Control-Request-Method': 'DELETE' });
    const allowed = await preflight('https://app.test').expect(204);
    for (const header of ['Authorization', 'If-Match', 'If-None-Match']) {
      expect(allowed.headers['access-control-allow-headers']).toContain(header);
    }
    for (const origin of ['https://app.test', 'https://evil.test', 'null']) {
      const answer = await preflight(origin).expect(204);
      expectKept(answer, 'Authorization, X-Tenant-ID, Origin');
      expect(answer.headers['access-control-allow-origin']).toBe(
        origin === 'https://app.test' ? origin : undefined,
      );
    }
  });
});

describe('the admin API', () => {
  it.each(adminAnswers)('answers %i (%s) for this caller alone, and no page', async (status, _what, ask) => {
    const answer = await ask();
    expect(answer.status).toBe(status);
    expectKept(answer, 'Authorization, X-Tenant-ID');
    expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
  });
});
