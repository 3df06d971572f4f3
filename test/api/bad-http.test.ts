import { once } from 'node:events';
import { beforeAll, describe, expect, it } from '@jest/globals';
import express, { type ErrorRequestHandler } from 'express';
import { type AppError, errorTable } from '../../src/errors.ts';
import { bodies } from '../../src/http/body.ts';
import type { Unreadable } from '../../src/http/unreadable.ts';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { answersIn, untilClosed, useRawServer } from '../support/raw.ts';
import { type TestTenant, useTenantry } from '../support/tenantry.ts';
import { forbidChanges } from '../support/untouched.ts';
import type { Answer } from '../support/wire.ts';

/** What no client library would send: two readers of it may see two different requests. */
const database = useDatabase();
const service = useTenantry(database);
const told: Unreadable[] = [];
const raw = useRawServer(() => service.tenantry.tenantApp, { unreadable: (facts) => told.push(facts) });
const impatient = useRawServer(() => service.tenantry.tenantApp, {
  unreadable: (facts) => told.push(facts),
  limits: {
    headersTimeout: 200,
    requestTimeout: 400,
    keepAliveTimeout: 100,
    connectionsCheckingInterval: 50,
  },
});

let tenant: TestTenant;
beforeAll(async () => {
  tenant = await service.onboard('bad_http', 'shared');
});
forbidChanges(database);

const product = JSON.stringify({ sku: 'RAW', name: 'Saw', priceCents: 1, stock: 1 });
const length = `Content-Length: ${product.length}\r\n`;
const chunks = `${product.length.toString(16)}\r\n${product}\r\n0\r\n\r\n`;
const smuggled = 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\n';
const last = 'GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';

/** A product that would be made, were it not for what is added to it. */
function creation(headers: string, body: string, version = '1.1'): Buffer {
  const always = `Host: x\r\nAuthorization: Bearer ${tenant.token}\r\nContent-Type: application/json\r\n`;
  return Buffer.from(`POST /v1/products HTTP/${version}\r\n${always}${headers}\r\n${body}`, 'latin1');
}

/** One answer, and then no connection on which anything could follow. */
function expectEnd(answers: Answer[], status: number, code: string): void {
  expect(answers).toHaveLength(1);
  const [answer] = answers as [Answer];
  expectProblem(answer, status, code, []);
  expect(answer.headers['connection']).toBe('close');
}

describe('where a body ends', () => {
  it.each<[string, string, string]>([
    ['a length and chunks', `${length}Transfer-Encoding: chunked\r\n`, chunks + smuggled],
    ['chunks and a length', `Transfer-Encoding: chunked\r\n${length}`, chunks + smuggled],
    ['chunks and a length of nothing', `Content-Length: 0\r\nTransfer-Encoding: chunked\r\n`, chunks],
    ['two lengths', `${length}Content-Length: 3\r\n`, product],
    ['one length twice', length + length, product],
    ['a list of lengths', `Content-Length: ${product.length}, ${product.length}\r\n`, product],
    ['a length with a sign', `Content-Length: +${product.length}\r\n`, product],
    ['a negative length', 'Content-Length: -1\r\n', product],
    ['a hexadecimal length', `Content-Length: 0x${product.length.toString(16)}\r\n`, product],
    ['a length past 2^64', 'Content-Length: 99999999999999999999999\r\n', product],
    ['an empty length', 'Content-Length: \r\n', product],
    ['an unknown coding', 'Transfer-Encoding: xchunked\r\n', chunks],
    ['identity', 'Transfer-Encoding: identity\r\n', product],
    ['chunks that are not last', 'Transfer-Encoding: chunked, identity\r\n', chunks],
    ['chunks of something packed', 'Transfer-Encoding: gzip, chunked\r\nConnection: close\r\n', chunks],
    ['chunks twice', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n', chunks],
    ['a blank before the colon', 'Transfer-Encoding : chunked\r\n', chunks],
    ['a vertical tab', 'Transfer-Encoding: \u000bchunked\r\n', chunks],
    ['a header on two lines', 'Transfer-Encoding:\r\n chunked\r\n', chunks],
    ['a negative chunk', 'Transfer-Encoding: chunked\r\n', `-1\r\n${chunks}`],
    ['a chunk of 0x2', 'Transfer-Encoding: chunked\r\n', `0x${chunks}`],
    ['a chunk past 2^64', 'Transfer-Encoding: chunked\r\n', `ffffffffffffffff${chunks}`],
    ['chunks with bare line feeds', 'Transfer-Encoding: chunked\r\n', chunks.replaceAll('\r\n', '\n')],
    ['a chunk that is longer than it says', 'Transfer-Encoding: chunked\r\n', chunks.replace('}', '}X')],
  ])('is not a matter of opinion: %s', async (_what, headers, body) => {
    expectEnd(await raw.talk(creation(headers, body)), 400, 'malformed_request');
  });

  it('is not told by chunks in HTTP/1.0', async () => {
    expectEnd(
      await raw.talk(creation('Transfer-Encoding: chunked\r\n', chunks, '1.0')),
      400,
      'malformed_request',
    );
  });

  it('is told by chunks without extensions of 16 kB', async () => {
    const extended = chunks.replace('\r\n', `;${'a'.repeat(20_000)}\r\n`);
    expectEnd(await raw.talk(creation('Transfer-Encoding: chunked\r\n', extended)), 413, 'payload_too_large');
  });

  it('and trailers after it change nothing', async () => {
    const wrong = chunks.replace('"stock":1', '"stock":x').replace(/\r\n$/, `X-Tenant-ID: other\r\n\r\n`);
    const answers = await raw.talk(creation('Transfer-Encoding: chunked\r\nConnection: close\r\n', wrong));
    expectEnd(answers, 400, 'malformed_json');
  });
});

describe('what is no request', () => {
  it.each<[string, string]>([
    ['bare line feeds', last.replaceAll('\r\n', '\n')],
    ['a bare carriage return', 'GET /livez HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n'],
    ['NUL in a header', 'GET /livez HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n'],
    ['a blank before the first header', 'GET /livez HTTP/1.1\r\n Host: x\r\n\r\n'],
    ['a header without a colon', 'GET /livez HTTP/1.1\r\nHost: x\r\nX\r\n\r\n'],
    ['a header without a name', 'GET /livez HTTP/1.1\r\nHost: x\r\n: x\r\n\r\n'],
    ['no Host', 'GET /livez HTTP/1.1\r\n\r\n'],
    ['HTTP/2.0', 'GET /livez HTTP/2.0\r\nHost: x\r\n\r\n'],
    ['HTTP/1.2', 'GET /livez HTTP/1.2\r\nHost: x\r\n\r\n'],
    ['the first words of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['the first bytes of TLS', '\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003'],
    ['an unknown method', 'BREW /livez HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a method in small letters', 'get /livez HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['an address without a slash', 'GET livez HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['an address with a blank', 'GET /li vez HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['an address in UTF-8', 'GET /v1/\u00c3\u00a9 HTTP/1.1\r\nHost: x\r\n\r\n'],
  ])('is refused like one: %s', async (_what, bytes) => {
    expectEnd(await raw.talk(Buffer.from(bytes, 'latin1')), 400, 'malformed_request');
  });

  it('is told to the log, with the id that the client has', async () => {
    told.length = 0;
    const [answer] = await raw.talk('BREW /livez HTTP/1.1\r\n\r\n');
    expect(told).toEqual([
      {
        requestId: answer?.headers['x-request-id'],
        status: 400,
        code: 'malformed_request',
        reason: 'HPE_INVALID_METHOD',
      },
    ]);
  });

  it.each([
    ['a token of 64 kB', `Authorization: Bearer ${'a'.repeat(65_536)}\r\n`],
    ['a flood of headers', 'X: x\r\n'.repeat(3000)],
    ['a header without an end', `X: ${'x'.repeat(1_000_000)}`],
    ['as many headers as Node drops', 'a:\r\n'.repeat(1500)],
  ])('is refused before it is kept: %s', async (_what, headers) => {
    expectEnd(await raw.talk(last.replace('\r\n\r\n', `\r\n${headers}\r\n`)), 431, 'headers_too_large');
  });

  it('opens no tunnel', async () => {
    expect(await raw.talk('CONNECT example.test:443 HTTP/1.1\r\nHost: example.test:443\r\n\r\n')).toEqual([]);
    const upgrade = last.replace('Connection: close', 'Connection: Upgrade, close\r\nUpgrade: websocket');
    expect((await raw.talk(upgrade)).map(({ status }) => status)).toEqual([200]);
  });

  it('names another host in its address in vain', async () => {
    const answers = await raw.talk(last.replace('/livez', 'http://another.test/livez'));
    expect(answers.map(({ text }) => text)).toEqual(['{"status":"ok"}']);
    expectEnd(await raw.talk(last.replace('/livez', '//another.test/livez')), 404, 'not_found');
    expectEnd(await raw.talk(last.replace('GET /livez', 'OPTIONS *')), 404, 'not_found');
  });
});

describe('requests that are sent ahead', () => {
  it('are answered in their order', async () => {
    const asked = ['/v1/products?limit=1', '/livez', '/nothing', '/v1/me'].map(
      (path, at) =>
        `GET ${path} HTTP/1.1\r\nHost: x\r\nX-Request-Id: ${at}\r\nAuthorization: Bearer ${tenant.token}\r\n\r\n`,
    );
    const answers = await raw.talk(asked.join('') + last.replace('Host', 'X-Request-Id: 4\r\nHost'));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 404, 200, 200]);
    expect(answers.map(({ headers }) => headers['x-request-id'])).toEqual(['0', '1', '2', '3', '4']);
  });

  it('have their own answers when what follows them is no request', async () => {
    const good = `GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${tenant.token}\r\n\r\n`;
    for (const before of [1, 2, 5]) {
      const answers = await raw.talk(`${good.repeat(before)}BREW /livez HTTP/1.1\r\n\r\n`);
      expect(answers.map(({ status }) => status)).toEqual([...Array<number>(before).fill(200), 400]);
      expect(answers.at(-1)?.headers['connection']).toBe('close');
    }
    const broken = creation('Transfer-Encoding: chunked\r\n', 'x\r\n').toString('latin1');
    expect((await raw.talk(good + broken)).map(({ status }) => status)).toEqual([200, 400]);
  });
});

it('what is no request is refused once, however many pieces it comes in', async () => {
  told.length = 0;
  const socket = await raw.open();
  const everything = untilClosed(socket);
  const good = `GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${tenant.token}\r\n\r\n`;
  socket.setNoDelay(true).write(good);
  const pieces = setInterval(() => socket.write('BREW\r\n\r\n'), 1);
  const answers = answersIn(await everything);
  clearInterval(pieces);
  expect(answers.map(({ status }) => status)).toEqual([200, 400]);
  expect(told).toHaveLength(1);
});

describe('a body that is too large', () => {
  const size = 1_048_577;

  it('is refused when it is announced, and the connection can be used again', async () => {
    const answers = await raw.talk(creation(`Content-Length: ${size}\r\n`, 'x'.repeat(size) + last));
    expect(answers.map(({ status }) => status)).toEqual([413, 200]);
  });

  it('is not waited for', async () => {
    const announced = await raw.talk(creation(`Content-Length: ${size}\r\n`, ''));
    expect(announced.map(({ status }) => status)).toEqual([413]);
    // Not one chunk says that it is the last.
    const chunk = `10000\r\n${'x'.repeat(65_536)}\r\n`;
    const unending = await raw.talk(creation('Transfer-Encoding: chunked\r\n', chunk.repeat(17)));
    expect(unending.map(({ status }) => status)).toEqual([413]);
  });

  it('is not asked for', async () => {
    const expecting = (bytes: number) => `Expect: 100-Continue\r\nContent-Length: ${bytes}\r\n`;
    expectEnd(await raw.talk(creation(expecting(size), '')), 413, 'payload_too_large');
    const wanted = await raw.talk(creation(`${expecting(2)}Connection: close\r\n`, '{}'));
    expect(wanted.map(({ status }) => status)).toEqual([100, 400]);
    expectEnd(await raw.talk(last.replace('Host', 'Expect: 200-ok\r\nHost')), 417, 'expectation_failed');
  });
});

describe('who takes its time', () => {
  it('over the headers is told so, and the connection ends', async () => {
    expectEnd(await impatient.talk('GET /livez HTTP/1.1\r\nHost: x\r\n'), 408, 'request_timeout');
  });

  it('over the headers, a line at a time, has no more time for it', async () => {
    const socket = await impatient.open();
    const everything = untilClosed(socket);
    socket.write('GET /livez HTTP/1.1\r\n');
    const dripping = setInterval(() => socket.write('X: x\r\n'), 20);
    expectEnd(answersIn(await everything), 408, 'request_timeout');
    clearInterval(dripping);
  });

  it('over the body is told so, and nothing is made of it', async () => {
    expectEnd(await impatient.talk(creation(length, product.slice(0, -1))), 408, 'request_timeout');
    const early = creation('Transfer-Encoding: chunked\r\n', chunks.slice(0, -2));
    expectEnd(await impatient.talk(early), 408, 'request_timeout');
  });

  it('and asks nothing is told nothing', async () => {
    expect(await impatient.talk('')).toEqual([]);
  });

  it('between two requests keeps no connection', async () => {
    const socket = await impatient.open();
    const everything = untilClosed(socket);
    socket.write(smuggled);
    expect(answersIn(await everything).map(({ status }) => status)).toEqual([200]);
  });

  it('and leaves in the middle leaves nothing behind', async () => {
    const socket = await raw.open();
    socket.write(creation(length, product.slice(0, 10)));
    socket.end();
    await once(socket.resume(), 'close');
    await tenant.client.get('/v1/products').expect(200);
  });
});

describe('a connection whose refused body has come whole', () => {
  it.each<[string, string, string]>([
    ['a bulk route, without a token', '/v1/products/bulk', 'Content-Type: application/json\r\n'],
    ['a bulk route, of another type', '/v1/products/bulk', 'Content-Type: text/plain\r\n'],
    ['a route that takes no such type', '/v1/products', 'Content-Type: text/plain\r\n'],
  ])('carries what follows, also when it came after the answer: %s', async (_, path, type) => {
    const socket = await raw.open();
    const closed = once(socket, 'close').then(() => 'closed');
    const answer = () => Promise.race([once(socket, 'data').then(([chunk]) => String(chunk)), closed]);
    const body = `[${product}]`;
    const head = `POST ${path} HTTP/1.1\r\nHost: x\r\n${type}Content-Length: ${body.length}\r\n\r\n`;
    socket.write(head + body.slice(0, 10));
    expect(await answer()).toMatch(/^HTTP\/1\.1 4\d\d /);
    socket.write(body.slice(10));
    // Longer than the rest of a body is waited for.
    for (const startedMs = performance.now(); performance.now() - startedMs < 2500; ) {
      socket.write('GET /livez HTTP/1.1\r\nHost: x\r\n\r\n');
      expect(await answer()).toMatch(/^HTTP\/1\.1 200 /);
    }
    socket.destroy();
  });
});

describe('a body that takes too long', () => {
  const slow = useRawServer(() => {
    const app = express();
    app.use(bodies({ limitBytes: 1000, patchTypes: [], arrivalMs: 100 }));
    app.use((_req, res) => void res.status(204).end());
    const told: ErrorRequestHandler = (error: AppError, _req, res, _next) => {
      res.status(errorTable[error.code].status).json(error.code);
    };
    return app.use(told);
  });

  it('is answered with 408, and one that comes in time is not', async () => {
    const socket = await slow.open();
    const head = `POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${length}\r\n`;
    const answer = async () => String((await once(socket, 'data'))[0]);
    socket.write(head + product);
    expect(await answer()).toMatch(/^HTTP\/1\.1 204 /);
    socket.write(head + product.slice(1));
    expect(await answer()).toMatch(/^HTTP\/1\.1 408 [^]*request_timeout/);
    socket.destroy();
  });
});
