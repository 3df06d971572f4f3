import { setTimeout as pause } from 'node:timers/promises';
import { expect } from '@jest/globals';
import pLimit from 'p-limit';
import { type Answer, type Client, clientWithToken, onPort } from './http.ts';
import { password, replicasFresh, type TestTenant, type TestTenantry } from './tenantry.ts';
import { until } from './until.ts';

/** What clients saw while something was wrong. */
export interface Traffic {
  /** How often which answer came: `read 200`, `write 503 unavailable`, … */
  answers: Record<string, number>;
  /** Every write that was acknowledged. */
  written: string[];
  /** The longest that anybody waited for an answer. */
  longestMs: number;
  /** Resolves when this answer has come `times` more often. */
  more(answer: string, times: number): Promise<void>;
}

interface Actors {
  /** Has never written. */
  reader: Client;
  writer: Client;
}

/**
 * Readers and writers of a tenant over HTTP, as fast as they are answered, for the length of `fn`. Whatever happens:
 * every answer is an answer, a refusal says when to come again, and a writer finds what it has just written.
 *
 * @param heir is asked in the end for all that has been written
 */
export async function underTraffic(
  service: TestTenantry,
  tenant: TestTenant,
  fn: (traffic: Traffic) => Promise<void>,
  heir = service,
): Promise<Traffic> {
  const token = await readerToken(service, tenant);
  const over = new AbortController();
  const traffic: Traffic = {
    answers: {},
    written: [],
    longestMs: 0,
    more: (answer, times) => {
      const goal = (traffic.answers[answer] ?? 0) + times;
      return until(() => (traffic.answers[answer] ?? 0) >= goal, `${times} more of ${answer}`, 20_000);
    },
  };

  async function timed(kind: string, request: Promise<Answer>): Promise<Answer> {
    const startedMs = performance.now();
    const answer = await request;
    traffic.longestMs = Math.max(traffic.longestMs, performance.now() - startedMs);
    const { status, body, headers } = answer;
    const code = status < 300 ? '' : ` ${String(body['code'])}`;
    traffic.answers[`${kind} ${status}${code}`] = (traffic.answers[`${kind} ${status}${code}`] ?? 0) + 1;
    if (status === 503) expect(headers.get('retry-after')).toBe('1');
    // Somebody who is refused waits, and be it a little.
    await pause(status < 300 ? 0 : 10);
    return answer;
  }

  async function read({ reader }: Actors): Promise<void> {
    while (!over.signal.aborted) await timed('read', reader.get('/v1/products?limit=5'));
  }

  async function write({ writer }: Actors, n: number): Promise<void> {
    for (let round = 0; !over.signal.aborted; round += 1) {
      const sku = `${n}-${round}-${Math.random()}`;
      const { status, body } = await timed('write', writer.post('/v1/products', { ...product, sku }));
      if (status !== 201) continue;
      const path = `/v1/products/${String(body['id'])}`;
      traffic.written.push(path);
      await timed('own read', writer.get(path));
    }
  }

  await onPort(service.tenantry.tenantApp, async (baseUrl) => {
    const actors = {
      reader: clientWithToken(baseUrl, token),
      writer: clientWithToken(baseUrl, tenant.token),
    };
    const working = [read(actors), read(actors), read(actors), write(actors, 1), write(actors, 2)];
    try {
      await Promise.all([traffic.more('read 200', 20), traffic.more('write 201', 5)]);
      await fn(traffic);
    } finally {
      over.abort();
      await Promise.all(working);
    }
  });
  await onPort(heir.tenantry.tenantApp, async (baseUrl) => {
    const client = clientWithToken(baseUrl, tenant.token);
    const some = pLimit(16); // others may still be at work, for as long as this takes
    const lost = await some.map(traffic.written, async (path) => {
      const { status } = await client.get(path);
      return status === 200 ? [] : [{ path, status }];
    });
    expect(lost.flat()).toEqual([]);
  });
  return traffic;
}

/** Resolves when nothing is left of a fault: all nodes fresh, writes taken, every connection back in its pool. */
export async function expectGreen(service: TestTenantry, tenant: TestTenant): Promise<void> {
  await until(async () => {
    const { status } = await tenant.client
      .post('/v1/products')
      .send({ ...product, sku: `g-${Math.random()}` });
    return status === 201;
  }, 'a write to be taken');
  await replicasFresh(service);
  await service.api().get('/readyz').expect(200);
  const { db } = service.tenantry.data;
  await until(
    () => db.nodes().every(({ pool }) => pool.inUse === 0 && pool.waiting === 0),
    'all connections to be back',
  );
}

const product = { name: 'of traffic', priceCents: 1, stock: 1 };
let readers = 0;

async function readerToken(service: TestTenantry, tenant: TestTenant): Promise<string> {
  readers += 1;
  const email = `reader-${readers}@traffic.test`;
  await tenant.client.post('/v1/users').send({ email, password }).expect(201);
  const answer = await service
    .api()
    .post('/v1/auth/login')
    .set('X-Tenant-ID', tenant.slug)
    .send({ email, password })
    .expect(200);
  return (answer.body as { accessToken: string }).accessToken;
}
