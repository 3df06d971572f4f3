import { beforeAll, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { password, problemOf, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { forbidChanges } from '../support/untouched.ts';

const database = useDatabase();
const service = useTenantry(database);

const id = '01900000-0000-7000-8000-000000000000';
const nul = 'a\u0000b';
const surrogate = 'a\ud800b';
const product = { sku: 'X', name: 'Saw', priceCents: 1, stock: 1 };
const user = { email: 'x@input.test', password };
const order = { lines: [{ productId: id, quantity: 1 }] };

describe('a body is refused, with the place of each fault,', () => {
  let tenant: TestTenant;
  let productId: string;
  beforeAll(async () => {
    tenant = await service.onboard('input_test', 'shared');
    const created = await tenant.client.post('/v1/products').send(product).expect(201);
    productId = (created.body as { id: string }).id;
  });
  forbidChanges(database, { butEvents: true });

  async function refused(method: 'post' | 'patch', path: string, body: unknown, pointers: string[]) {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const answer = await tenant.client[method](path).set('Content-Type', 'application/json').send(text);
    expectProblem(answer, 400, 'invalid_input', pointers);
    return answer;
  }

  it.each<[string, object | string, string[]]>([
    ['an unknown field', { ...product, colour: 'red' }, ['/colour']],
    ['tenant_id', { ...product, tenant_id: id }, ['/tenant_id']],
    ['tenantId', { ...product, tenantId: id }, ['/tenantId']],
    ['an id', { ...product, id }, ['/id']],
    ['a role', { ...product, role: 'owner' }, ['/role']],
    ['deleted_at', { ...product, deleted_at: null }, ['/deleted_at']],
    ['a version', { ...product, version: 7 }, ['/version']],
    ['createdAt', { ...product, createdAt: '2020-01-01T00:00:00Z' }, ['/createdAt']],
    ['__proto__', `{"__proto__":{"stock":1},${JSON.stringify(product).slice(1)}`, ['/__proto__']],
    ['constructor', { ...product, constructor: { prototype: {} } }, ['/constructor']],
    ['a key with a slash and a tilde', { ...product, 'a/b~c': 1 }, ['/a~1b~0c']],
    ['nothing', {}, ['/sku', '/name', '/priceCents', '/stock']],
    ['an empty body', '', ['/sku', '/name', '/priceCents', '/stock']],
    ['an array', [product], ['']],
    ['NUL', { ...product, name: nul }, ['/name']],
    ['a lone surrogate', { ...product, sku: surrogate, description: '\udc00' }, ['/sku', '/description']],
    ['NUL in a field that is not known', { ...product, x: { y: [nul] } }, ['/x/y/0']],
    ['blank text', { ...product, sku: ' \t ', name: '' }, ['/sku', '/name']],
    ['text that is too long', { ...product, sku: 'x'.repeat(101), name: 'x'.repeat(201) }, ['/sku', '/name']],
    ['null', { ...product, sku: null, stock: null }, ['/sku', '/stock']],
    ['a number for text', { ...product, sku: 5 }, ['/sku']],
    ['text for a number', { ...product, stock: '5' }, ['/stock']],
    ['true for a number', { ...product, stock: true }, ['/stock']],
    ['an object for text', { ...product, name: { $ne: '' } }, ['/name']],
    ['an array for text', { ...product, name: ['a'] }, ['/name']],
    ['a fraction', { ...product, priceCents: 19.9 }, ['/priceCents']],
    ['a negative number', { ...product, priceCents: -1, stock: -1 }, ['/priceCents', '/stock']],
    ['a price too high', { ...product, priceCents: 1_000_000_000_001 }, ['/priceCents']],
    ['a number past 2^53', { ...product, priceCents: 2 ** 53 }, ['/priceCents']],
    ['a stock too high', { ...product, stock: 99_999_999_999 }, ['/stock']],
    ['an infinite number', `{"sku":"x","name":"x","priceCents":1e400,"stock":1}`, ['/priceCents']],
    ['a currency in small letters', { ...product, currency: 'usd' }, ['/currency']],
    ['a currency with a line break', { ...product, currency: 'USD\n' }, ['/currency']],
  ])('of a product with %s', async (_what, body, pointers) => {
    await refused('post', '/v1/products', body, pointers);
    // A change needs no field in particular, but takes the same ones.
    if (pointers.length < 4) await refused('patch', `/v1/products/${productId}`, body, pointers);
  });

  it('of a change of nothing', async () => {
    for (const path of [`/v1/products/${productId}`, `/v1/users/${tenant.scope.actor.id}`]) {
      await refused('patch', path, {}, ['']);
    }
    await refused('patch', `/v1/orders/${id}`, {}, ['/customerId']);
  });

  it.each<[string, object, string[]]>([
    ['an address that is none', { ...user, email: 'x' }, ['/email']],
    ['two addresses', { ...user, email: 'a@input.test,b@input.test' }, ['/email']],
    ['an address with a line break', { ...user, email: 'a@input.test\nBcc: b@input.test' }, ['/email']],
    ['an address too long', { ...user, email: `${'x'.repeat(250)}@input.test` }, ['/email']],
    ['no password', { email: user.email }, ['/password']],
    ['an empty password', { ...user, password: '' }, ['/password']],
    ['a short password', { ...user, password: '11 letters!' }, ['/password']],
    ['a password of 73 bytes', { ...user, password: 'x'.repeat(73) }, ['/password']],
    ['72 letters of 73 bytes', { ...user, password: `${'x'.repeat(71)}é` }, ['/password']],
    ['a password of a megabyte', { ...user, password: 'x'.repeat(1_000_000) }, ['/password']],
    ['a password with NUL', { ...user, password: `${password}\u0000x` }, ['/password']],
    ['a password with a lone surrogate', { ...user, password: `${password}\ud800` }, ['/password']],
    ['a hash', { ...user, passwordHash: 'x', password_hash: 'x' }, ['/passwordHash', '/password_hash']],
    ['an unknown role', { ...user, role: 'superuser' }, ['/role']],
    ['a role of the prototype', { ...user, role: '__proto__' }, ['/role']],
    ['two roles', { ...user, role: ['member', 'owner'] }, ['/role']],
    ['a tenant', { ...user, tenant_id: id }, ['/tenant_id']],
  ])('of a user with %s', async (_what, body, pointers) => {
    await refused('post', '/v1/users', body, pointers);
  });

  it.each<[string, object, string[]]>([
    ['no lines', {}, ['/lines']],
    ['an empty list of lines', { lines: [] }, ['/lines']],
    [
      '101 lines',
      { lines: Array.from({ length: 101 }, (_, n) => ({ productId: numbered(n), quantity: 1 })) },
      ['/lines'],
    ],
    [
      'a product twice',
      { lines: [...order.lines, { productId: id.toUpperCase(), quantity: 2 }] },
      ['/lines/1/productId'],
    ],
    ['a product that is no id', { lines: [{ productId: 'x', quantity: 1 }] }, ['/lines/0/productId']],
    ['a quantity of 0', { lines: [{ productId: id, quantity: 0 }] }, ['/lines/0/quantity']],
    ['a negative quantity', { lines: [{ productId: id, quantity: -1 }] }, ['/lines/0/quantity']],
    ['half a piece', { lines: [{ productId: id, quantity: 0.5 }] }, ['/lines/0/quantity']],
    ['a million and one', { lines: [{ productId: id, quantity: 1_000_001 }] }, ['/lines/0/quantity']],
    [
      'a price of the buyer’s',
      { lines: [{ productId: id, quantity: 1, unitPriceCents: 1 }] },
      ['/lines/0/unitPriceCents'],
    ],
    ['a total', { ...order, totalCents: 1 }, ['/totalCents']],
    ['a number', { ...order, number: 1 }, ['/number']],
    ['a status', { ...order, status: 'cancelled' }, ['/status']],
    ['a customer that is no id', { ...order, customerId: 'me' }, ['/customerId']],
  ])('of an order with %s', async (_what, body, pointers) => {
    await refused('post', '/v1/orders', body, pointers);
  });

  it('of an order that is to be changed in more than its customer', async () => {
    for (const field of ['status', 'totalCents', 'lines', 'number']) {
      await refused('patch', `/v1/orders/${id}`, { customerId: null, [field]: 1 }, [`/${field}`]);
    }
  });

  it('where none is taken', async () => {
    for (const path of [`/v1/products/${productId}/restore`, `/v1/orders/${id}/cancel`]) {
      await refused('post', path, { reason: 'x' }, ['']);
    }
  });

  it('that is nested ten thousand levels deep', async () => {
    for (const [open, close] of [
      ['[', ']'],
      ['{"a":', '}'],
    ] as const) {
      const body = `{"name":${open.repeat(10_000)}1${close.repeat(10_000)}}`;
      const problem = problemOf(await tenant.client.post('/v1/products').type('json').send(body));
      expect(problem).toMatchObject({ status: 400, errors: [{ code: 'too_deep' }] });
    }
  });

  it('with a hundred of its faults and no more', async () => {
    const keys = Array.from({ length: 20_000 }, (_, n) => [`field ${n} ${'x'.repeat(20)}`, nul] as const);
    for (const value of [nul, 'x']) {
      const body = Object.fromEntries(keys.map(([key]) => [key, value]));
      const answer = await service.api().post('/v1/auth/login').set('X-Tenant-ID', tenant.slug).send(body);
      expect((problemOf(answer)['errors'] as object[]).length).toBeLessThanOrEqual(100);
    }
    const long = { ...product, ['x'.repeat(500_000)]: 1 };
    const answer = await tenant.client.post('/v1/products').send(long).expect(400);
    expect(answer.text.length).toBeLessThan(2000);
  });

  it('at the login, too', async () => {
    const post = (body: unknown) =>
      service
        .api()
        .post('/v1/auth/login')
        .set('X-Tenant-ID', tenant.slug)
        .send(body as object);
    const right = { email: tenant.ownerEmail, password };
    expectProblem(await post({}), 400, 'invalid_input', ['/email', '/password']);
    expectProblem(await post({ ...right, role: 'owner' }), 400, 'invalid_input', ['/role']);
    expectProblem(await post({ ...right, email: { like: '%' } }), 400, 'invalid_input', ['/email']);
    expectProblem(await post({ ...right, email: nul }), 400, 'invalid_input', ['/email']);
    expectProblem(await post({ ...right, password: surrogate }), 400, 'invalid_input', ['/password']);
    expectProblem(await post({ ...right, password: 5 }), 400, 'invalid_input', ['/password']);
    // bcrypt would read the first 72 bytes of it and no further.
    expectProblem(await post({ ...right, password: 'x'.repeat(73) }), 401, 'invalid_credentials', []);
    for (const path of ['/v1/auth/refresh', '/v1/auth/logout']) {
      const answer = await service
        .api()
        .post(path)
        .send({ refreshToken: [tenant.refreshToken] });
      expectProblem(answer, 400, 'invalid_input', ['/refreshToken']);
    }
  });
});

describe('an id in a path', () => {
  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await service.onboard('input_ids', 'schema');
  });
  forbidChanges(database, { butEvents: true });

  it.each([
    'x',
    '1',
    'null',
    'undefined',
    '-1',
    `${id}0`,
    id.slice(1),
    id.replaceAll('-', ''),
    `%7B${id}%7D`,
    `${id}%00`,
    `${id}%20`,
    "'--",
    '..%2f..%2fadmin',
    '%F0%9F%92%A9',
    'me',
  ])('is a uuid; %s is refused by every route', async (bad) => {
    for (const noun of ['products', 'users', 'orders']) {
      const path = `/v1/${noun}/${bad}`;
      expectProblem(await tenant.client.get(path), 400, 'invalid_input', ['id']);
      expectProblem(await tenant.client.patch(path).send({ name: 'x' }), 400, 'invalid_input', ['id']);
      expectProblem(await tenant.client.delete(path), 400, 'invalid_input', ['id']);
      expectProblem(await tenant.client.post(`${path}/restore`), 400, 'invalid_input', ['id']);
    }
    expectProblem(await tenant.client.post(`/v1/orders/${bad}/cancel`), 400, 'invalid_input', ['id']);
  });
});

function numbered(n: number): string {
  return `01900000-0000-7000-8000-${String(n).padStart(12, '0')}`;
}
