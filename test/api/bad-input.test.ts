import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { type TestTenant, useTenantry } from '../support/tenantry.ts';
import { forbidChanges } from '../support/untouched.ts';
import { type Answer, useWire } from '../support/wire.ts';

/**
 * What comes in through the front door and is not let further, by kind. Fields are in input.test.ts, credentials in
 * credentials.test.ts, lists in lists.test.ts, and what is no HTTP in bad-http.test.ts.
 */
const database = useDatabase();
const service = useTenantry(database);
const wire = useWire(() => service.tenantry.tenantApp);
const adminWire = useWire(() => {
  const { adminApp } = service.tenantry;
  if (adminApp === undefined) throw new Error('There is no admin app');
  return adminApp;
});

const id = '01900000-0000-7000-8000-000000000000';
const product = { sku: 'BAD', name: 'Saw', priceCents: 1, stock: 1 };
const text = JSON.stringify(product);

/** A problem, whole, which says nothing of how it came about. */
function expectRefused(answer: Answer, status: number, code: string, pointers: readonly string[] = []): void {
  expectProblem(answer, status, code, pointers);
  expect(answer.text).not.toMatch(
    /\b(select|insert|update|relation|constraint|syntax|SyntaxError|node_modules)\b|\.ts:|position \d/,
  );
}

let tenant: TestTenant;
beforeAll(async () => {
  tenant = await service.onboard('bad_input', 'schema');
});

const bearer = () => ['Authorization', `Bearer ${tenant.token}`];

function post(body: string | Buffer, headers: readonly string[] = ['Content-Type', 'application/json']) {
  return wire.send({ method: 'POST', path: '/v1/products', headers: [...bearer(), ...headers], body });
}

describe('a body', () => {
  forbidChanges(database);

  const within = (...bytes: number[]) =>
    Buffer.concat([
      Buffer.from('{"sku":"'),
      Buffer.from(bytes),
      Buffer.from('","name":"x","priceCents":1,"stock":1}'),
    ]);

  it.each<[string, Buffer]>([
    ['a byte that begins nothing', within(0xff)],
    ['a character that is cut off', within(0xe2, 0x82)],
    ['a slash in two bytes', within(0xc0, 0xaf)],
    ['NUL in two bytes', within(0xc0, 0x80)],
    ['a surrogate in UTF-8', within(0xed, 0xa0, 0x80)],
    ['a character beyond Unicode', within(0xf4, 0x90, 0x80, 0x80)],
    ['NUL as it is', within(0)],
    ['a line break as it is', within(0x0a)],
    ['a byte order mark', Buffer.from(`\ufeff${text}`)],
    ['UTF-16', Buffer.from(text, 'utf16le')],
    ['a byte order mark of UTF-16', Buffer.from(`\ufeff${text}`, 'utf16le')],
  ])('with %s is malformed', async (_what, body) => {
    expectRefused(await post(body), 400, 'malformed_json');
  });

  it.each(['utf-16', 'utf-16le', 'utf-32', 'utf-7', 'utf8', 'iso-8859-1', 'us-ascii', 'x'])(
    'said to be in %s is refused, for it must be UTF-8',
    async (charset) => {
      const answer = await post(text, ['Content-Type', `application/json; charset=${charset}`]);
      expectRefused(answer, 415, 'unsupported_media_type');
    },
  );

  it.each([
    ['no type', []],
    ['an empty type', ['Content-Type', '']],
    ['a type of forms', ['Content-Type', 'application/x-www-form-urlencoded']],
    ['a type of patches', ['Content-Type', 'application/merge-patch+json']],
    ['any other JSON', ['Content-Type', 'application/vnd.api+json']],
    ['two types in one header', ['Content-Type', 'application/json, text/plain']],
  ])('of %s is refused wherever it is sent, and by routes that take none, too', async (_what, headers) => {
    for (const [method, path] of [
      ['POST', '/v1/products'],
      ['POST', '/v1/auth/login'],
      ['POST', `/v1/products/${id}/restore`],
      ['DELETE', `/v1/products/${id}`],
      ['GET', '/v1/products'],
    ] as const) {
      const answer = await wire.send({ method, path, headers: [...bearer(), ...headers], body: text });
      expectRefused(answer, 415, 'unsupported_media_type');
    }
  });

  it('that an operator’s tool sends as a form does not start a run of the whole fleet', async () => {
    const answer = await service
      .operator()
      .post('/admin/v1/migrations')
      .type('application/x-www-form-urlencoded')
      .send('{"planOnly":true}');
    expectRefused(answer, 415, 'unsupported_media_type');
  });

  it('may be nested 32 levels deep, strings not counted, and is not parsed when it is deeper', async () => {
    const nested = (levels: number) => `{"x":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`;
    expectRefused(await post(nested(33)), 400, 'invalid_input', ['']);
    const whole = await post(nested(32));
    expect(whole.text).not.toContain('too_deep');
    const quoted = await post(JSON.stringify({ ...product, x: `\\"${'[{'.repeat(100)}` }));
    expectRefused(quoted, 400, 'invalid_input', ['/x']);
    // Never closed, which a parser would have to come to the end to know.
    for (const open of ['[', '{"a":', '[{"a":']) {
      const answer = await post(open.repeat(Math.floor(1_048_576 / open.length)));
      expectRefused(answer, 400, 'invalid_input', ['']);
      expect(answer.text).toContain('too_deep');
    }
  });

  it('has a thousand fields at most, which is said before each of them is looked at', async () => {
    const keys = Array.from({ length: 80_000 }, (_, n) => [`k${n}`, 1] as const);
    expectRefused(await post(JSON.stringify(Object.fromEntries(keys))), 400, 'invalid_input', ['']);
    const inner = { lines: [Object.fromEntries(keys.slice(0, 1001))] };
    expectRefused(await post(JSON.stringify(inner)), 400, 'invalid_input', ['/lines/0']);
  });

  it.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
  ] as const)('packed with %s is measured by what comes out', async (coding, pack) => {
    const send = (body: string) =>
      post(pack(body), ['Content-Type', 'application/json', 'Content-Encoding', coding]);
    const bomb = JSON.stringify({ ...product, description: 'x'.repeat(20_000_000) });
    expect(pack(bomb).length).toBeLessThan(25_000);
    expectRefused(await send(bomb), 413, 'payload_too_large');
    expectRefused(await send(JSON.stringify({ ...product, colour: 'red' })), 400, 'invalid_input', [
      '/colour',
    ]);
  });

  it('packed in another way, or twice, is refused with what would be taken', async () => {
    for (const coding of ['compress', 'zip', 'gzip, gzip', 'chunked', 'x'.repeat(500)]) {
      const answer = await post(gzipSync(text), [
        'Content-Type',
        'application/json',
        'Content-Encoding',
        coding,
      ]);
      expectRefused(answer, 415, 'unsupported_media_type');
      expect(answer.headers['accept-encoding']).toBe('gzip, deflate, br');
      expect(answer.headers).not.toHaveProperty('accept-patch');
    }
  });
});

describe('a header that may be there once', () => {
  forbidChanges(database);

  it.each([
    ['Authorization', 'Bearer x'],
    ['Consistency-Token', 'x'],
    ['Content-Type', 'application/json'],
    ['Host', 'api.test'],
    ['Idempotency-Key', 'k'],
    ['Read-Consistency', 'any'],
    ['X-Tenant-ID', 'acme'],
  ])('is refused when %s is there twice, equal or not', async (name, value) => {
    for (const second of [value, `${value}2`]) {
      for (const path of ['/v1/products', '/livez', '/nothing']) {
        const answer = await wire.send({ path, headers: [name, value, name.toLowerCase(), second] });
        expectRefused(answer, 400, 'invalid_input');
        expect(answer.text).toContain(`more than one ${name} header`);
      }
    }
  });

  it('is refused by the admin API as well', async () => {
    const answer = await adminWire.send({
      method: 'POST',
      path: '/admin/v1/tenants',
      headers: ['Idempotency-Key', 'a', 'Idempotency-Key', 'a', 'Content-Type', 'application/json'],
      body: '{}',
    });
    expectRefused(answer, 400, 'invalid_input');
  });
});

describe('a request', () => {
  forbidChanges(database);

  it('has an address of 8,192 characters and a query of 100 parameters at most', async () => {
    const ofLength = (length: number) => `/v1/products?${'x'.repeat(length - 13)}`;
    expectRefused(await wire.send({ path: ofLength(8193), headers: bearer() }), 414, 'uri_too_long');
    const longest = await wire.send({ path: ofLength(8192), headers: bearer() });
    expect(longest.status).toBe(400);
    const query = (parameters: number) => Array.from({ length: parameters }, () => 'a').join('&');
    for (const [parameters, code] of [
      [101, 'too_many'],
      [1100, 'too_many'], // the parser looks at a thousand
      [100, 'unrecognized_keys'],
    ] as const) {
      const answer = await wire.send({ path: `/v1/products?${query(parameters)}`, headers: bearer() });
      expect(answer.status).toBe(400);
      expect(answer.text).toContain(code);
    }
  });

  it('has 100 headers at most', async () => {
    const more = (n: number) => Array.from({ length: n }, (_, index) => [`X-${index}`, '']).flat();
    // Host and Content-Length are headers, too; the last is of node's client.
    const most = await wire.send({ path: '/livez', headers: more(97) });
    expect(most.status).toBe(200);
    expectRefused(await wire.send({ path: '/livez', headers: more(99) }), 431, 'headers_too_large');
  });

  it('with a token that is long, but no longer than headers may be, is refused for the token', async () => {
    const answer = await wire.send({
      path: '/v1/products',
      headers: ['Authorization', `Bearer ${'a'.repeat(12_000)}`],
    });
    expectRefused(answer, 401, 'unauthenticated');
  });

  it('cannot change its method by a header or a parameter', async () => {
    for (const name of ['X-HTTP-Method-Override', 'X-HTTP-Method', 'X-Method-Override']) {
      const answer = await post(text, ['Content-Type', 'text/plain', name, 'DELETE']);
      expectRefused(answer, 415, 'unsupported_media_type');
      const path = `/v1/products/${id}/restore`;
      const headers = [...bearer(), name, 'DELETE'];
      expectRefused(await wire.send({ method: 'GET', path, headers }), 405, 'method_not_allowed');
    }
  });

  it.each(['TRACE', 'PROPFIND', 'SEARCH', 'PUT', 'M-SEARCH'])(
    'by %s is answered with what there is',
    async (method) => {
      const answer = await wire.send({ method, path: '/v1/products', headers: bearer() });
      expectRefused(answer, 405, 'method_not_allowed');
      expect(answer.headers['allow']).toBe('GET, HEAD, OPTIONS, POST');
    },
  );
});

describe('a password', () => {
  it('is the same however its letters are composed', async () => {
    const composed = 'pässwörd of tésts';
    const email = 'composed@bad-input.test';
    await tenant.client.post('/v1/users').send({ email, password: composed }).expect(201);
    const login = (password: string) =>
      service.api().post('/v1/auth/login').set('X-Tenant-ID', tenant.slug).send({ email, password });
    expect(composed.normalize('NFD')).not.toBe(composed);
    await login(composed.normalize('NFD')).expect(200);
    await login(composed).expect(200);
    expectRefused(
      await login(composed.normalize('NFKD').replaceAll(/\p{M}/gu, '')),
      401,
      'invalid_credentials',
    );
    // 72 bytes when it is composed, 108 when it is not.
    const longest = { email: 'long@bad-input.test', password: 'é'.repeat(36).normalize('NFD') };
    await tenant.client.post('/v1/users').send(longest).expect(201);
  });
});
