import { describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { useHoldings, emailOf } from '../support/holdings.ts';
import { allRows, withoutEvents } from '../support/rows.ts';
import { password, problemOf, useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
const service = useTenantry(database);

const { heldBy } = useHoldings(service);
/** What was refused may stand in the audit, and nowhere else. */
const lasting = async () => withoutEvents(await allRows(database));
const login = (tenant: string, email: string, secret = password) =>
  service.api().post('/v1/auth/login').set('X-Tenant-ID', tenant).send({ email, password: secret });
const exchange = (verb: 'refresh' | 'logout', refreshToken: string, tenant?: string) => {
  const call = service.api().post(`/v1/auth/${verb}`);
  return (tenant === undefined ? call : call.set('X-Tenant-ID', tenant)).send({ refreshToken });
};

interface Tokens {
  accessToken: string;
  refreshToken: string;
}

describe.each([
  ['ash', 'birch'],
  ['ash', 'dogwood'],
  ['cedar', 'birch'],
  ['cedar', 'dogwood'],
])('the credentials of %s', (slug, other) => {
  const own = () => heldBy(slug).tenant;
  const foreign = () => heldBy(other).tenant;
  const fresh = async () => (await login(slug, own().ownerEmail).expect(200)).body as Tokens;
  /** The same secret, with the name of the other tenant in front. */
  const renamed = (token: string) => token.replace(own().id, foreign().id);

  it(`open nothing at ${other}, in the words of a wrong password and of an unknown tenant`, async () => {
    const before = await lasting();
    const wrong = problemOf(await login(slug, own().ownerEmail, 'not the password').expect(401));
    for (const call of [
      login(other, own().ownerEmail),
      login(foreign().id, own().ownerEmail),
      login(slug, foreign().ownerEmail),
      login('nobody-at-all', own().ownerEmail),
      login(slug, 'nobody@nowhere.test'),
      login(slug, emailOf(slug, 'deleted')),
    ]) {
      expect(problemOf(await call.expect(401))).toEqual(wrong);
    }
    expect(await lasting()).toEqual(before);
  });

  it(`are no refresh token of ${other}`, async () => {
    const { refreshToken } = await fresh();
    const before = await lasting();
    const unknown = problemOf(await exchange('refresh', refreshToken.slice(0, -3).concat('xxx')).expect(401));
    expect(problemOf(await exchange('refresh', renamed(refreshToken)).expect(401))).toEqual(unknown);
    expect(problemOf(await exchange('refresh', renamed(refreshToken), other).expect(401))).toEqual(unknown);
    await exchange('logout', renamed(refreshToken)).expect(204);
    expect(await lasting()).toEqual(before);
    await exchange('refresh', refreshToken).expect(200);
  });

  it.each(['refresh', 'logout'] as const)('do not %s in the name of another', async (verb) => {
    const { refreshToken } = await fresh();
    const before = await lasting();
    const unknown = problemOf(await exchange(verb, refreshToken, 'nobody-at-all').expect(403));
    expect(unknown).toMatchObject({ code: 'tenant_mismatch' });
    for (const name of [other, foreign().id]) {
      expect(problemOf(await exchange(verb, refreshToken, name).expect(403))).toEqual(unknown);
    }
    expect(await lasting()).toEqual(before);
  });

  it('lead to tokens of the same tenant, whoever refreshes', async () => {
    const { refreshToken } = await fresh();
    const { body } = await exchange('refresh', refreshToken, slug).expect(200);
    const { accessToken } = body as Tokens;
    const client = service.api().auth(accessToken, { type: 'bearer' });
    await client.get(`/v1/products/${heldBy(slug).products.live}`).expect(200);
    await client.get(`/v1/products/${heldBy(other).products.live}`).expect(404);
    expect((await client.get('/v1/me').expect(200)).body).toMatchObject({ email: own().ownerEmail });
  });

  it(`read nothing of ${other} with its name in the header, nor in any other place`, async () => {
    const foreignProduct = heldBy(other).products.live;
    const { client } = own();
    await client.get(`/v1/products/${foreignProduct}`).set('X-Tenant-ID', other).expect(403);
    for (const header of ['X-Tenant', 'Tenant-ID', 'X-Forwarded-Host', 'Host']) {
      await client.get(`/v1/products/${foreignProduct}`).set(header, `${other}.tenantry.test`).expect(404);
    }
    for (const name of ['tenant', 'tenantId', 'tenant_id']) {
      await client.get(`/v1/products?${name}=${foreign().id}`).expect(400);
      const body = { sku: name, name, priceCents: 1, stock: 1, [name]: foreign().id };
      await client.post('/v1/products').send(body).expect(400);
    }
  });
});

describe('a user who has been deleted', () => {
  it.each(['ash', 'cedar'])('can neither log in nor refresh in %s, and is not there', async (slug) => {
    const email = `leaver@${slug}.test`;
    const { client } = heldBy(slug).tenant;
    const created = await client.post('/v1/users').send({ email, password }).expect(201);
    const { accessToken, refreshToken } = (await login(slug, email).expect(200)).body as Tokens;
    await client.delete(`/v1/users/${(created.body as { id: string }).id}`).expect(204);
    await login(slug, email).expect(401);
    await exchange('refresh', refreshToken).expect(401);
    await service.api().auth(accessToken, { type: 'bearer' }).get('/v1/me').expect(401);
  });
});
