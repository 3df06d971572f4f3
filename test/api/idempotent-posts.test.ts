import { beforeAll, describe, expect, it } from '@jest/globals';
import { withConnection } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { createHoldings, type Holdings } from '../support/holdings.ts';
import { expectProblem } from '../support/problem.ts';
import { hire } from '../support/staff.ts';
import { password, testSecret, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';
import { unchanged } from '../support/untouched.ts';
import { type Answer, useWire } from '../support/wire.ts';

/** Two processes, as far as memory is concerned, of one service. */
const database = useDatabase();
const service = useTenantry(database);
const other = useTenantry(database);
const wires = [useWire(() => service.tenantry.tenantApp), useWire(() => other.tenantry.tenantApp)];

function send(process: number, token: string, key: string, path: string, body?: object) {
  const wire = wires[process % wires.length];
  if (wire === undefined) throw new Error('there are two processes');
  const headers = ['Authorization', `Bearer ${token}`, 'Idempotency-Key', key];
  if (body === undefined) return wire.send({ method: 'POST', path, headers });
  const json = ['Content-Type', 'application/json'];
  return wire.send({ method: 'POST', path, headers: [...headers, ...json], body: JSON.stringify(body) });
}

const isReplayed = ({ headers }: Answer) => headers['idempotency-replayed'] !== undefined;
let keys = 0;
const newKey = () => `key-${(keys += 1)}`;

describe.each(['shared', 'schema'] as const)('POST with an Idempotency-Key, isolation %s:', (isolation) => {
  let held: Holdings;
  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await service.onboard(`once_${isolation}`, isolation);
    held = await createHoldings(tenant);
  });

  const post = (key: string, path: string, body?: object, process = 0) =>
    send(process, tenant.token, key, path, body);
  const product = (sku: string, stock = 5) => ({ sku, name: sku, priceCents: 10, stock });
  const placing = (productId: string, quantity = 1) => ({ lines: [{ productId, quantity }] });
  async function made(body: object): Promise<string> {
    const { body: view } = await tenant.client.post('/v1/products').send(body).expect(201);
    return (view as { id: string }).id;
  }
  const stockOf = async (id: string) => (await service.tenantry.data.products.get(tenant.scope, id)).stock;
  const rows = () =>
    database.superuser<{ request: string; text: string; bytes: Buffer }>(
      `select request, t::text as text, result as bytes from ${tenant.scope.tenant.schema}.idempotency_keys t
       where tenant_id = $1 order by request`,
      [tenant.id],
    );

  /** Every POST but those of /v1/auth: path, body, status. */
  const posts: [string, () => [string, object | undefined], number][] = [
    ['a product', () => ['/v1/products', product('once')], 201],
    ['a user', () => ['/v1/users', { email: 'once@once.test', password }], 201],
    ['an order', () => ['/v1/orders', placing(held.products.live)], 201],
    ['an API key', () => ['/v1/api-keys', { name: 'once', scopes: ['read'] }], 201],
    ['a restored product', () => [`/v1/products/${held.products.deleted}/restore`, undefined], 200],
    ['a restored user', () => [`/v1/users/${held.users.deleted}/restore`, undefined], 200],
    ['a restored order', () => [`/v1/orders/${held.orders.deleted}/restore`, undefined], 200],
    ['a cancelled order', () => [`/v1/orders/${held.orders.live}/cancel`, undefined], 200],
  ];

  it.each(posts)('%s has one effect and one answer, in any process', async (_what, request, status) => {
    const [path, body] = request();
    const key = newKey();
    const first = await post(key, path, body);
    expect([first.status, isReplayed(first)]).toEqual([status, false]);
    await unchanged(database, async () => {
      for (const [process, spelled] of [
        [0, key],
        [1, key],
        [1, `"${key}"`],
      ] as const) {
        const again = await post(spelled, path, body, process);
        expect([again.status, again.headers['idempotency-replayed']]).toEqual([status, 'true']);
        expect(again.headers['location']).toBe(first.headers['location']);
        expect(again.text).toBe(first.text);
        // Whoever is told of an effect must be able to read it.
        expect(again.headers['consistency-token']).toEqual(expect.any(String));
      }
    });
  });

  it('a new password is set once, for the user and not for the token', async () => {
    const { email, token, id } = await hire(service, tenant, 'member');
    const change = { currentPassword: password, newPassword: 'another password of tests' };
    const key = newKey();
    expect((await send(0, token, key, '/v1/me/password', change)).status).toBe(204);
    const login = { email, password: change.newPassword };
    const { body } = await service
      .api()
      .post('/v1/auth/login')
      .set('X-Tenant-ID', tenant.slug)
      .send(login)
      .expect(200);
    const { accessToken } = body as { accessToken: string };
    await unchanged(database, async () => {
      const again = await send(0, accessToken, key, '/v1/me/password', change);
      expect([again.status, isReplayed(again), again.text]).toEqual([204, true, '']);
    });
    const events = await database.superuser(
      `select from ${tenant.scope.tenant.schema}.audit_events
       where action = 'users.password_changed' and resource_id = $1`,
      [id],
    );
    expect(events).toHaveLength(1);
  });

  it('an order sent 50 times at once to two processes is placed once', async () => {
    const id = await made(product('rush', 1000));
    const key = newKey();
    const all = (times: number) =>
      Promise.all(Array.from({ length: times }, (_, n) => post(key, '/v1/orders', placing(id, 3), n)));
    const answers = [...(await all(50)), ...(await all(4))];
    const placed = answers.filter(({ status }) => status === 201);
    for (const answer of answers.filter(({ status }) => status !== 201)) {
      expectProblem(answer, 409, 'request_under_way', []);
      expect(answer.headers['retry-after']).toBe('1');
    }
    expect(placed.filter((answer) => !isReplayed(answer))).toHaveLength(1);
    expect(new Set(placed.map(({ text }) => text)).size).toBe(1);
    expect(await stockOf(id)).toBe(997);
  });

  it('counts once towards a limit, however often it is sent at once', async () => {
    const small = await service.onboard(`once_small_${isolation}`, isolation, { rows: 10 });
    const body = product('small');
    const key = newKey();
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => send(0, small.token, key, '/v1/products', body)),
    );
    for (const answer of answers.filter(({ status }) => status !== 201)) {
      expectProblem(answer, 409, 'request_under_way', []);
    }
    expect((await send(0, small.token, newKey(), '/v1/products', product('next'))).status).toBe(201);
  });

  it('whoever asks again while the first is under way is told so, in any process', async () => {
    const id = await made(product('held'));
    const key = newKey();
    const ask = (process: number) => post(key, '/v1/orders', placing(id), process);
    let first: Promise<Answer> | undefined;
    await withConnection(database.superuserUrl(), async (client) => {
      await client.query('begin');
      await client.query(`select from ${tenant.scope.tenant.schema}.products where id = $1 for update`, [id]);
      first = ask(0);
      const waits = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
      await until(async () => (await database.superuser(waits)).length > 0, 'the order to wait');
      for (const process of [0, 1]) expectProblem(await ask(process), 409, 'request_under_way', []);
    });
    const answer = await first;
    expect([answer?.status, (await ask(1)).text]).toEqual([201, answer?.text]);
    expect(await stockOf(id)).toBe(4);
  });

  it('another body, or another address, under the same key is refused', async () => {
    const id = await made(product('bodied'));
    const key = newKey();
    const { text } = await post(key, '/v1/orders', placing(id));
    const order = (JSON.parse(text) as { id: string }).id;
    const cancelKey = newKey();
    await post(cancelKey, `/v1/orders/${order}/cancel`);
    await unchanged(database, async () => {
      for (const answer of [
        await post(key, '/v1/orders', placing(id, 2)),
        await post(cancelKey, `/v1/orders/${held.orders.live}/cancel`),
      ]) {
        expectProblem(answer, 422, 'idempotency_key_reused', []);
      }
    });
  });

  it('another actor, route or tenant with the same key is another request', async () => {
    const key = newKey();
    const colleague = await hire(service, tenant, 'member');
    const body = (sku: string) => product(`${sku}-${key}`);
    const first = await post(key, '/v1/products', body('own'));
    const second = await send(0, colleague.token, key, '/v1/products', body('colleague'));
    const user = await post(key, '/v1/users', { email: `${key}@once.test`, password });
    const neighbour = await service.onboard(`once_beside_${isolation}`, isolation);
    const third = await send(0, neighbour.token, key, '/v1/products', body('own'));
    for (const answer of [first, second, user, third]) {
      expect([answer.status, isReplayed(answer)]).toEqual([201, false]);
    }
    expect(new Set([first, second, user, third].map(({ text }) => text)).size).toBe(4);
  });

  it('a refusal is not kept: what was wrong can be mended with the same key', async () => {
    const id = await made(product('mended', 1));
    const key = newKey();
    await unchanged(database, async () => {
      expectProblem(await post(key, '/v1/orders', placing(id, 2)), 409, 'insufficient_stock');
      expectProblem(await post(key, '/v1/orders', { lines: [] }), 400, 'invalid_input');
    });
    await tenant.client.patch(`/v1/products/${id}`).send({ stock: 2 }).expect(200);
    const answer = await post(key, '/v1/orders', placing(id, 2));
    expect([answer.status, isReplayed(answer)]).toEqual([201, false]);
  });

  it('nor is a failure of ours', async () => {
    const key = newKey();
    const place = `${tenant.scope.tenant.schema}.products`;
    await database.superuser(`
      create function public.broken() returns trigger language plpgsql as $$ begin raise exception 'broken'; end $$;
      create trigger broken before insert on ${place} for each row execute function public.broken()`);
    try {
      expect((await post(key, '/v1/products', product('failed'))).status).toBe(500);
    } finally {
      await database.superuser(`drop function public.broken() cascade`);
    }
    const answer = await post(key, '/v1/products', product('failed'));
    expect([answer.status, isReplayed(answer)]).toEqual([201, false]);
  });

  it('is answered again whatever has changed since: no stock, the row gone, the tenant full', async () => {
    const id = await made(product('scarce', 2));
    const key = newKey();
    const first = await post(key, '/v1/orders', placing(id, 2));
    expectProblem(await post(newKey(), '/v1/orders', placing(id, 2)), 409, 'insufficient_stock');
    await tenant.client.delete(`/v1/orders/${(JSON.parse(first.text) as { id: string }).id}`).expect(204);
    await service
      .operator()
      .patch(`/admin/v1/tenants/${tenant.id}`)
      .send({ limits: { rows: 1 } })
      .expect(200);
    for (const process of [0, 1]) {
      const full = async () => (await post(newKey(), '/v1/orders', placing(id, 1), process)).text;
      await until(async () => (await full()).includes('limit_reached'), 'the limit to be known');
      const again = await post(key, '/v1/orders', placing(id, 2), process);
      expect([again.status, isReplayed(again), again.text]).toEqual([201, true, first.text]);
    }
    await service.operator().patch(`/admin/v1/tenants/${tenant.id}`).send({ limits: {} }).expect(200);
    const roomy = async () => (await post(newKey(), '/v1/products', product('roomy'))).status !== 409;
    await until(roomy, 'the limit to be gone');
  });

  it.each(['', ' ', 'a b', 'é', 'x'.repeat(256), 'a,b', '"a'])('the key %j is refused', async (key) => {
    await unchanged(database, async () => {
      const answer = await post(key, '/v1/products', product('never'));
      expectProblem(answer, 400, 'invalid_input', ['Idempotency-Key']);
    });
  });

  it('holds nothing in the table that a look at it would tell', async () => {
    const key = newKey();
    const input = { name: 'a name of tests', scopes: ['read'] };
    const { text } = await post(key, '/v1/api-keys', input);
    const { key: secret, id } = JSON.parse(text) as { key: string; id: string };
    const kept = await rows();
    expect(kept.length).toBeGreaterThan(5);
    for (const told of [secret, secret.slice(-50), id, input.name, key, password, tenant.ownerEmail]) {
      for (const row of kept) {
        expect(row.text).not.toContain(told);
        expect(row.bytes.includes(told)).toBe(false);
      }
    }
  });

  it('is forgotten after a day, and what has expired makes room for what comes', async () => {
    const before = (await rows()).length;
    await database.superuser(
      `update ${tenant.scope.tenant.schema}.idempotency_keys set created_at = now() - interval '25 hours'`,
    );
    const [mine, again] = [newKey(), newKey()];
    const first = await post(mine, '/v1/api-keys', { name: 'x', scopes: ['read'] });
    await post(again, '/v1/api-keys', { name: 'x', scopes: ['read'] });
    expect((await rows()).length).toBe(before);
    await database.superuser(
      `update ${tenant.scope.tenant.schema}.idempotency_keys set created_at = now() - interval '25 hours'`,
    );
    const second = await post(mine, '/v1/api-keys', { name: 'y', scopes: ['read'] });
    expect([second.status, isReplayed(second)]).toEqual([201, false]);
    expect(second.text).not.toBe(first.text);
    expect((await post(mine, '/v1/api-keys', { name: 'y', scopes: ['read'] })).text).toBe(second.text);
    expect((await rows()).length).toBe(before);
  });

  it('is not looked at by the routes of sessions, which keep no token', async () => {
    const before = await rows();
    const login = () =>
      service
        .api()
        .post('/v1/auth/login')
        .set('X-Tenant-ID', tenant.slug)
        .set('Idempotency-Key', 'login')
        .send({ email: tenant.ownerEmail, password })
        .expect(200);
    const [one, two] = [await login(), await login()];
    expect(one.headers['idempotency-replayed']).toBeUndefined();
    expect(one.text).not.toBe(two.text);
    expect(await rows()).toEqual(before);
  });
});

describe('when the keys of the service are changed', () => {
  const signing = (kid: string, secret: string) => ({
    kid,
    alg: 'HS256',
    kty: 'oct',
    k: Buffer.from(secret).toString('base64url'),
  });
  const [before, after] = [signing('1', testSecret), signing('2', testSecret.toUpperCase())];
  const withKeys = (...jwks: object[]) =>
    useTenantry(database, { env: { JWT_SECRET: '', JWT_KEYS: JSON.stringify({ keys: jwks }) } });
  const [old, both, none] = [withKeys(before), withKeys(after, before), withKeys(after)];

  it('what was kept is answered as long as the old one is there, and never done again', async () => {
    const tenant = await old.onboard('rotated', 'shared');
    const create = async (at: typeof old) => {
      const client = await at.login('rotated', tenant.ownerEmail, password);
      return client
        .post('/v1/products')
        .set('Idempotency-Key', 'rotated')
        .send({ sku: 'R', name: 'R', priceCents: 1, stock: 1 });
    };
    const first = await create(old);
    expect((await create(both)).text).toBe(first.text);
    expectProblem(await create(none), 422, 'idempotency_key_reused', []);
  });
});

describe('a browser', () => {
  const browsed = useTenantry(database, { env: { CORS_ORIGINS: 'https://shop.test' } });

  it('may send the key, and read whether it was answered again', async () => {
    const { headers } = await browsed
      .api()
      .options('/v1/orders')
      .set({ Origin: 'https://shop.test', 'Access-Control-Request-Method': 'POST' });
    expect(headers['access-control-allow-headers']).toContain('Idempotency-Key');
    const answer = await browsed.api().get('/livez').set('Origin', 'https://shop.test');
    expect(answer.headers['access-control-expose-headers']).toContain('Idempotency-Replayed');
  });
});
