import { describe, expect, it } from '@jest/globals';
import { networkOf } from '../../src/http/login-guard.ts';
import { createTestClock } from '../support/clock.ts';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import {
  password,
  startTenantry,
  type TestTenant,
  type TestTenantry,
  useTenantry,
} from '../support/tenantry.ts';
import { statusesOf, useWire } from '../support/wire.ts';

const database = useDatabase();
const service = useTenantry(database);
const wire = useWire(() => service.tenantry.tenantApp);

let named = 0;
const product = () => {
  named += 1;
  return { sku: `limit-${named}`, name: 'x', priceCents: 1, stock: 100 };
};
const user = () => {
  named += 1;
  return { email: `u${named}@limits.test`, password };
};

/** A service of its own with these settings, for the length of `fn`. */
async function withSettings(
  env: Record<string, string>,
  fn: (other: TestTenantry) => Promise<void>,
): Promise<void> {
  const other = await startTenantry(database, { env });
  try {
    await fn(other);
  } finally {
    await other.tenantry.stop();
  }
}

describe('requests per minute', () => {
  it('are told as they are used up, and then refused until the minute is over', async () => {
    const tenant = await service.onboard('rpm', 'shared', { requestsPerMinute: 5 }); // which asks once who it is
    for (const left of [3, 2, 1, 0]) {
      const { headers } = await tenant.client.get('/v1/products').expect(200);
      expect(headers['ratelimit-policy']).toBe('"default";q=5;w=60');
      expect(headers['ratelimit']).toMatch(new RegExp(`^"default";r=${left};t=([1-9]|[1-5]\\d|60)$`));
    }
    const refused = await tenant.client.get('/v1/products');
    expectProblem(refused, 429, 'rate_limited');
    expect(refused.headers['ratelimit']).toMatch(/^"default";r=0;t=\d+$/);
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    expect(Number(refused.headers['retry-after'])).toBeLessThanOrEqual(60);
    // What is refused writes nothing, and other tenants do not notice.
    expectProblem(await tenant.client.post('/v1/products').send(product()), 429, 'rate_limited');
    const other = await service.onboard('rpm_other', 'shared');
    const { headers } = await other.client.get('/v1/products').expect(200);
    expect([headers['ratelimit'], headers['ratelimit-policy']]).toEqual([undefined, undefined]);
  });

  it('count those that name another tenant, too: what is refused beyond the limit is no event', async () => {
    const tenant = await service.onboard('rpm_named', 'shared', { requestsPerMinute: 3 }); // one is used up
    const statuses: number[] = [];
    for (let n = 0; n < 5; n += 1) {
      const answer = await tenant.client.get('/v1/products').set('X-Tenant-ID', 'somebody');
      statuses.push(answer.status);
    }
    expect(statuses).toEqual([403, 403, 429, 429, 429]);
    const told = `select from shared.audit_events where tenant_id = $1 and action like '%mismatch%'`;
    expect(await database.superuser(told, [tenant.id])).toHaveLength(2);
  });

  it('are exact for many at once', async () => {
    const tenant = await service.onboard('rpm_burst', 'schema', { requestsPerMinute: 11 });
    const answers = await Promise.all(
      Array.from({ length: 30 }, () => wire.json(tenant.token, 'GET', '/v1/products')),
    );
    expect(statusesOf(answers)).toEqual([...Array<number>(10).fill(200), ...Array<number>(20).fill(429)]);
  });

  it('have a default, which a tenant’s own limit replaces', async () => {
    await withSettings({ TENANT_REQUESTS_PER_MINUTE: '3' }, async (limited) => {
      const plain = await limited.onboard('rpm_default', 'shared');
      const { headers } = await plain.client.get('/v1/products').expect(200);
      expect(headers['ratelimit-policy']).toBe('"default";q=3;w=60');
      const paying = await limited.onboard('rpm_paying', 'shared', { requestsPerMinute: 100, users: 5 });
      const answer = await paying.client.get('/v1/products').expect(200);
      expect(answer.headers['ratelimit-policy']).toBe('"default";q=100;w=60');
    });
  });

  it('are shown to browsers', async () => {
    await withSettings({ CORS_ORIGINS: 'https://app.example.com' }, async ({ api }) => {
      const { headers } = await api().get('/v1/products').set('Origin', 'https://app.example.com');
      expect(headers['access-control-expose-headers']).toMatch(/RateLimit,RateLimit-Policy,Retry-After/);
    });
  });
});

describe('requests at once', () => {
  it('beyond the limit are refused, and have room again when those before have ended', async () => {
    const tenant = await service.onboard('at_once', 'schema', {
      concurrentRequests: 2,
      requestsPerMinute: 100,
    });
    const { body } = await tenant.client.post('/v1/products').send(product()).expect(201);
    const id = (body as { id: string }).id;
    const { db } = service.tenantry.data;
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    let locked: () => void = () => undefined;
    const isLocked = new Promise<void>((resolve) => {
      locked = resolve;
    });
    const holding = db.write(tenant.scope, async (session) => {
      await session.query('select from products where id = $1 for update', [id]);
      locked();
      await released;
    });
    await isLocked;
    const patch = () => wire.json(tenant.token, 'PATCH', `/v1/products/${id}`, { stock: 1 });
    // Two of the three wait for the lock; which of them is the third is not known.
    const three = [patch(), patch(), patch()];
    const refused = await Promise.race(three);
    expectProblem(refused, 429, 'rate_limited');
    expect(refused.headers['retry-after']).toBe('1');
    expect(refused.headers['ratelimit-policy']).toBe('"concurrent";q=2;qu="concurrent-requests"');
    expect(refused.headers['ratelimit']).toBe('"concurrent";r=0');
    release();
    await holding;
    expect(statusesOf(await Promise.all(three))).toEqual([200, 200, 429]);
    const { headers } = await patch();
    expect(headers['ratelimit']).toMatch(/^"default";r=\d+;t=\d+, "concurrent";r=1$/);
  });
});

describe.each(['shared', 'schema'] as const)('users of a tenant with isolation %s', (isolation) => {
  let tenant: TestTenant;

  it('are never more than it may have, however many are made at once', async () => {
    tenant = await service.onboard(`users_${isolation}`, isolation, { users: 4 });
    const answers = await Promise.all(
      Array.from({ length: 12 }, () => wire.json(tenant.token, 'POST', '/v1/users', user())),
    );
    expect(statusesOf(answers)).toEqual([201, 201, 201, ...Array<number>(9).fill(409)]);
    for (const answer of answers) if (answer.status === 409) expectProblem(answer, 409, 'limit_reached');
    const { body } = await tenant.client.get('/v1/users?count=exact').expect(200);
    expect((body as { page: { total: number } }).page.total).toBe(4);
  });

  it('make room when they are deleted, and do not come back when it has been taken', async () => {
    const { body } = await tenant.client.get('/v1/users').expect(200);
    const { data } = body as { data: { id: string; role: string }[] };
    const [first, second] = data.filter(({ role }) => role !== 'owner');
    await tenant.client.delete(`/v1/users/${first?.id}`).expect(204);
    await tenant.client.post('/v1/users').send(user()).expect(201);
    expectProblem(await tenant.client.post(`/v1/users/${first?.id}/restore`), 409, 'limit_reached');
    // One that is not deleted needs no room.
    await tenant.client.post(`/v1/users/${second?.id}/restore`).expect(200);
    await tenant.client.delete(`/v1/users/${second?.id}`).expect(204);
    await tenant.client.post(`/v1/users/${first?.id}/restore`).expect(200);
  });
});

describe('API keys', () => {
  it('are never more than the tenant may have, however many are made at once; a patch makes room', async () => {
    const tenant = await service.onboard('keys_limited', 'shared', { apiKeys: 2 });
    const key = { name: 'import', scopes: ['read'] };
    const answers = await Promise.all(
      Array.from({ length: 6 }, () => wire.json(tenant.token, 'POST', '/v1/api-keys', key)),
    );
    expect(statusesOf(answers)).toEqual([201, 201, ...Array<number>(4).fill(409)]);
    for (const answer of answers) if (answer.status === 409) expectProblem(answer, 409, 'limit_reached');
    await service
      .operator()
      .patch(`/admin/v1/tenants/${tenant.id}`)
      .send({ limits: { apiKeys: 3 } })
      .expect(200);
    await tenant.client.post('/v1/api-keys').send(key).expect(201);
    expectProblem(await tenant.client.post('/v1/api-keys').send(key), 409, 'limit_reached');
  });
});

describe('rows', () => {
  it('of all kinds count, and no more are taken than there may be', async () => {
    // The owner, four products, and an order with a line.
    const tenant = await service.onboard('rows', 'shared', { rows: 7 });
    const neighbour = await service.onboard('rows_neighbour', 'shared');
    await neighbour.client.post('/v1/products').send(product()).expect(201);
    const ids: string[] = [];
    for (let n = 0; n < 4; n += 1) {
      const { body } = await tenant.client.post('/v1/products').send(product()).expect(201);
      ids.push((body as { id: string }).id);
    }
    const two = { lines: ids.slice(0, 2).map((productId) => ({ productId, quantity: 1 })) };
    const one = { lines: ids.slice(0, 1).map((productId) => ({ productId, quantity: 1 })) };
    expectProblem(await tenant.client.post('/v1/orders').send(two), 409, 'limit_reached');
    await tenant.client.post('/v1/orders').send(one).expect(201);
    for (const [path, body] of [
      ['products', product()],
      ['users', user()],
    ] as const) {
      expectProblem(await tenant.client.post(`/v1/${path}`).send(body), 409, 'limit_reached');
    }
    const { products } = service.tenantry.data;
    await expect(
      products.createMany(tenant.scope, [{ ...product(), description: null, currency: 'USD' }]),
    ).rejects.toMatchObject({ code: 'limit_reached' });
  });

  it('are exact for what one process adds at once', async () => {
    const tenant = await service.onboard('rows_burst', 'schema', { rows: 11 });
    const answers = await Promise.all(
      Array.from({ length: 30 }, () => wire.json(tenant.token, 'POST', '/v1/products', product())),
    );
    expect(statusesOf(answers)).toEqual([...Array<number>(10).fill(201), ...Array<number>(20).fill(409)]);
  });
});

it('rows that are deleted make room when they are counted again', async () => {
  const clock = createTestClock();
  const other = await startTenantry(database, { overrides: { clock } });
  try {
    const { client } = await other.onboard('rows_again', 'schema', { rows: 2 });
    const { body } = await client.post('/v1/products').send(product()).expect(201);
    expectProblem(await client.post('/v1/products').send(product()), 409, 'limit_reached');
    await client.delete(`/v1/products/${(body as { id: string }).id}`).expect(204);
    clock.advance(1001);
    await client.post('/v1/products').send(product()).expect(201);
    expectProblem(await client.post('/v1/products').send(product()), 409, 'limit_reached');
  } finally {
    await other.tenantry.stop();
  }
});

describe('logging in', () => {
  const attempt = ({ api }: TestTenantry, tenant: string, email: string, secret: string) =>
    api().post('/v1/auth/login').set('X-Tenant-ID', tenant).send({ email, password: secret });

  it('with wrong passwords is over after ten, also for the right one, and for nobody else', async () => {
    const tenant = await service.onboard('guessed', 'shared');
    const other = await service.onboard('not_guessed', 'shared');
    const guesses = await Promise.all(
      Array.from({ length: 15 }, (_, n) => attempt(service, tenant.slug, tenant.ownerEmail, `guess ${n}`)),
    );
    expect(statusesOf(guesses)).toEqual([...Array<number>(10).fill(401), ...Array<number>(5).fill(429)]);
    for (const name of [tenant.slug, tenant.id]) {
      const refused = await attempt(service, name, tenant.ownerEmail.toUpperCase(), password);
      expectProblem(refused, 429, 'rate_limited');
      expect(Number(refused.headers['retry-after'])).toBeGreaterThan(800);
    }
    await attempt(service, other.slug, other.ownerEmail, password).expect(200);
    await tenant.client.get('/v1/me').expect(200);
  });

  it('answers the same for a tenant or an account that is not there', async () => {
    for (const [slug, email] of [
      ['nowhere', 'a@nowhere.test'],
      ['guessed', 'nobody@guessed.test'],
    ] as const) {
      const guesses = await Promise.all(Array.from({ length: 12 }, () => attempt(service, slug, email, 'x')));
      expect(statusesOf(guesses)).toEqual([...Array<number>(10).fill(401), 429, 429]);
    }
  });

  it('rightly forgives what was wrong before', async () => {
    await withSettings(
      { LOGIN_FAILURES_PER_ACCOUNT: '2', LOGIN_FAILURES_PER_ADDRESS: '6' },
      async (strict) => {
        const { slug, ownerEmail } = await strict.onboard('forgiven', 'shared');
        for (let n = 0; n < 3; n += 1) {
          await attempt(strict, slug, ownerEmail, 'wrong').expect(401);
          await attempt(strict, slug, ownerEmail, password).expect(200);
        }
        // The address has guessed three times by now.
        for (let n = 0; n < 3; n += 1) await attempt(strict, slug, `u${n}@x.test`, 'wrong').expect(401);
        expectProblem(await attempt(strict, slug, 'u9@x.test', 'wrong'), 429, 'rate_limited');
      },
    );
  });

  it('of operators is guarded, too', async () => {
    const wrong = { email: 'nobody@tenantry.test', password: 'wrong' };
    const guesses = [];
    for (let n = 0; n < 11; n += 1) {
      guesses.push(await service.admin().post('/admin/v1/auth/login').send(wrong));
    }
    expect(statusesOf(guesses)).toEqual([...Array<number>(10).fill(401), 429]);
  });

  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['2001:0DB8:0001:0002::', '2001:db8:1:2::/64'],
  ])('the address %s counts as %s', (ip, network) => {
    expect(networkOf(ip)).toBe(network);
  });
});
