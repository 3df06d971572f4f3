import { createHmac, generateKeyPairSync } from 'node:crypto';
import { beforeAll, describe, expect, it } from '@jest/globals';
import jwt from 'jsonwebtoken';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { replicasFresh, type TestTenant, testSecret, useTenantry } from '../support/tenantry.ts';
import { forbidChanges } from '../support/untouched.ts';
import { type Answer, useWire } from '../support/wire.ts';

const database = useDatabase();
const service = useTenantry(database);
const wire = useWire(() => service.tenantry.tenantApp);

const product = JSON.stringify({ sku: 'X', name: 'Saw', priceCents: 1, stock: 1 });
const hour = 3600;
const now = () => Math.floor(Date.now() / 1000);

describe.each(['shared', 'schema'] as const)('a tenant with isolation %s', (isolation) => {
  let tenant: TestTenant;
  let other: TestTenant;
  beforeAll(async () => {
    tenant = await service.onboard(`creds_${isolation}`, isolation);
    other = await service.onboard(`creds_other_${isolation}`, isolation);
    await other.client
      .post('/v1/products')
      .send(JSON.parse(product) as object)
      .expect(201);
    await replicasFresh(service);
    await database.caughtUp();
  });
  forbidChanges(database, { butEvents: true });

  /** A read and a write with these headers. */
  async function knock(...headers: string[]): Promise<Answer[]> {
    return [
      await wire.send({ path: '/v1/products', headers }),
      await wire.send({
        method: 'POST',
        path: '/v1/products',
        headers: ['Content-Type', 'application/json', ...headers],
        body: product,
      }),
    ];
  }

  async function refused(status: number, code: string, ...headers: string[]): Promise<void> {
    for (const answer of await knock(...headers)) {
      expectProblem(answer, status, code, []);
      expect(answer.headers['www-authenticate']).toBe(status === 401 ? 'Bearer' : undefined);
    }
  }

  /** A token that is good but for what is given. */
  function mint(
    claims: object = {},
    { secret = testSecret, header = {} }: { secret?: string; header?: object } = {},
  ): string {
    const payload = {
      iss: 'tenantry',
      aud: 'tenantry',
      sub: tenant.scope.actor.id,
      tid: tenant.id,
      role: 'owner',
      iat: now(),
      exp: now() + hour,
      ...claims,
    };
    const given = Object.fromEntries(Object.entries(payload).filter(([, value]) => value !== undefined));
    return jwt.sign(given, secret, { header: { alg: 'HS256', typ: 'at+jwt', ...header } });
  }

  /** With any header whatever, signed by hand. */
  function forge(header: object, signature?: string): string {
    const [, payload] = mint().split('.');
    const head = Buffer.from(JSON.stringify(header)).toString('base64url');
    const signed =
      signature ?? createHmac('sha256', testSecret).update(`${head}.${payload}`).digest('base64url');
    return `${head}.${payload}.${signed}`;
  }

  it('lets a good token in, so that the refusals below are for their one fault', async () => {
    const answer = await wire.send({
      path: '/v1/products',
      headers: ['Authorization', `Bearer ${mint()}`],
    });
    expect(answer.status).toBe(200);
    expect(forge({ alg: 'HS256', typ: 'at+jwt' }).split('.')).toHaveLength(3);
  });

  it.each<[string, () => string]>([
    ['expired', () => mint({ exp: now() - 1 })],
    ['not valid yet', () => mint({ nbf: now() + hour })],
    ['without an end', () => mint({ exp: undefined })],
    ['without a subject', () => mint({ sub: undefined })],
    ['without a tenant', () => mint({ tid: undefined })],
    ['of no tenant that exists', () => mint({ tid: '01900000-0000-7000-8000-000000000000' })],
    ['whose tenant is no text', () => mint({ tid: { toString: 'x' } })],
    ['without a role', () => mint({ role: undefined })],
    ['for another audience', () => mint({ aud: 'somebody-else' })],
    ['for operators', () => mint({ aud: 'tenantry-admin' })],
    ['without an audience', () => mint({ aud: undefined })],
    ['of another issuer', () => mint({ iss: 'somebody-else' })],
    ['without an issuer', () => mint({ iss: undefined })],
    ['of type JWT', () => mint({}, { header: { typ: 'JWT' } })],
    ['of type refresh', () => mint({}, { header: { typ: 'rt+jwt' } })],
    ['signed with another secret', () => mint({}, { secret: `${testSecret}.` })],
    ['signed with an empty-looking secret', () => mint({}, { secret: ' ' })],
    ['not signed', () => forge({ alg: 'none', typ: 'at+jwt' }, '')],
    ['not signed, by another spelling', () => forge({ alg: 'nOnE', typ: 'at+jwt' }, '')],
    ['not signed though it says so', () => forge({ alg: 'HS256', typ: 'at+jwt' }, '')],
    ['signed with another algorithm', () => mint({}, { header: { alg: 'HS512' } })],
    ['signed with a key of its own', () => byOwnKey(mint())],
    ['with a key id that is a path', () => forge({ alg: 'HS256', typ: 'at+jwt', kid: '../../x' }, 'x')],
    ['whose payload was changed', () => changed(mint(), { tid: other.id })],
    ['cut short', () => mint().slice(0, -1)],
    ['of two parts', () => mint().split('.').slice(0, 2).join('.')],
    ['of garbage', () => 'a.b.c'],
    ['that is a refresh token', () => tenant.refreshToken],
  ])('is closed to a token %s', async (_what, token) => {
    await refused(401, 'unauthenticated', 'Authorization', `Bearer ${token()}`);
  });

  it('is closed to any other scheme, and to none', async () => {
    const basic = Buffer.from(`${tenant.ownerEmail}:a password of tests`).toString('base64');
    for (const header of [
      `Basic ${basic}`,
      'Bearer',
      'Bearer ',
      mint(),
      `Token ${mint()}`,
      `Bearer ${mint()} ${mint()}`,
      `Bearer ${mint()}, Bearer ${mint()}`,
      `Bearer "${mint()}"`,
    ]) {
      await refused(401, 'unauthenticated', 'Authorization', header);
    }
    await refused(401, 'unauthenticated');
    const inQuery = await wire.send({ path: `/v1/products?access_token=${mint()}` });
    expectProblem(inQuery, 401, 'unauthenticated', []);
    await refused(401, 'unauthenticated', 'Cookie', `accessToken=${mint()}`);
  });

  it('does not guess which of two Authorization headers is meant', async () => {
    const [good, bad] = [`Bearer ${mint()}`, 'Bearer x'];
    for (const pair of [
      [good, bad],
      [bad, good],
      [good, good],
    ] as const) {
      await refused(400, 'invalid_input', 'Authorization', pair[0], 'authorization', pair[1]);
    }
  });

  it('is not opened by naming it', async () => {
    for (const name of [tenant.slug, tenant.id]) await refused(401, 'unauthenticated', 'X-Tenant-ID', name);
  });

  it('may be named beside its token, and no other tenant may', async () => {
    const bearer = ['Authorization', `Bearer ${tenant.token}`];
    for (const own of [tenant.slug, tenant.id, tenant.id.toUpperCase()]) {
      const answer = await wire.send({ path: '/v1/products', headers: [...bearer, 'X-Tenant-ID', own] });
      expect(answer.status).toBe(200);
    }
    for (const foreign of [other.slug, other.id, 'no-such-tenant', '01900000-0000-7000-8000-000000000000']) {
      await refused(403, 'tenant_mismatch', ...bearer, 'X-Tenant-ID', foreign);
    }
  });

  it('is not guessed from a header that names none, or two', async () => {
    const bearer = ['Authorization', `Bearer ${tenant.token}`];
    for (const header of [
      '',
      ' ',
      tenant.slug.toUpperCase(),
      "x' or 1=1",
      '../shared',
      `${tenant.slug}%00`,
      '*',
    ]) {
      await refused(400, 'invalid_input', ...bearer, 'X-Tenant-ID', header);
    }
    for (const second of [tenant.slug, other.slug]) {
      await refused(400, 'invalid_input', ...bearer, 'X-Tenant-ID', tenant.slug, 'x-tenant-id', second);
    }
    const login = await wire.send({
      method: 'POST',
      path: '/v1/auth/login',
      headers: ['Content-Type', 'application/json', 'X-Tenant-ID', tenant.slug, 'X-Tenant-ID', tenant.slug],
      body: JSON.stringify({ email: tenant.ownerEmail, password: 'a password of tests' }),
    });
    expectProblem(login, 400, 'invalid_input', []);
  });

  it('reads a role it does not know as no rights to write', async () => {
    const bearer = ['Authorization', `Bearer ${mint({ role: '__proto__' })}`];
    const [, write] = await knock(...bearer);
    if (write === undefined) throw new Error('knock() reads and writes');
    expectProblem(write, 403, 'forbidden', []);
  });
});

function byOwnKey(token: string): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const claims = jwt.decode(token) as object;
  return jwt.sign(claims, privateKey, { algorithm: 'ES256', header: { alg: 'ES256', typ: 'at+jwt' } });
}

function changed(token: string, claims: object): string {
  const [header, payload = '', signature] = token.split('.');
  const before = JSON.parse(Buffer.from(payload, 'base64url').toString()) as object;
  return [
    header,
    Buffer.from(JSON.stringify({ ...before, ...claims })).toString('base64url'),
    signature,
  ].join('.');
}
