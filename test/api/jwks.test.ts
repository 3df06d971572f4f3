import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { expect, it } from '@jest/globals';
import jwt from 'jsonwebtoken';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { password, startTenantry, useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const pairJwk = { ...pair.privateKey.export({ format: 'jwk' }), kid: '2026-11', alg: 'ES256' };
const secretJwk = { kty: 'oct', k: randomBytes(32).toString('base64url'), kid: '2026-10', alg: 'HS256' };
const keys = (...jwks: object[]) => ({ JWT_KEYS: JSON.stringify({ keys: jwks }) });
const service = useTenantry(database, { env: keys(pairJwk, secretJwk) });

it('anybody can check an access token with the keys that are published', async () => {
  const tenant = await service.onboard('jwks', 'schema');
  const answer = await service.api().get('/.well-known/jwks.json').expect(200);
  expect(answer.headers['cache-control']).toBe('public, max-age=300');
  const published = { ...pair.publicKey.export({ format: 'jwk' }), kid: '2026-11', alg: 'ES256', use: 'sig' };
  expect(answer.body).toEqual({ keys: [published] });
  expect(answer.text).not.toMatch(/"d"|"k"/);
  const claims = jwt.verify(tenant.token, pair.publicKey, { algorithms: ['ES256'], audience: 'tenantry' });
  expect(claims).toMatchObject({ tid: tenant.id, sub: tenant.scope.actor.id });
});

it('keys change under clients who are logged in, and a key that has left opens nothing', async () => {
  const tenant = await service.onboard('jwks_rotation', 'shared');
  const before = await startTenantry(database);
  const old = await before.login('jwks_rotation', tenant.ownerEmail, password);
  await old.get('/v1/me').expect(200);
  const refreshed = await before
    .api()
    .post('/v1/auth/refresh')
    .send({ refreshToken: tenant.refreshToken })
    .expect(200);
  const signedBefore = refreshed.body as { accessToken: string; refreshToken: string };
  await before.tenantry.stop();
  // JWT_SECRET is still there: its tokens, which name no key, go on.
  await service.api().auth(signedBefore.accessToken, { type: 'bearer' }).get('/v1/me').expect(200);
  const after = await startTenantry(database, { env: { ...keys(secretJwk), JWT_SECRET: '' } });
  try {
    const get = (token: string) => after.api().auth(token, { type: 'bearer' }).get('/v1/products');
    expectProblem(await get(tenant.token), 401, 'unauthenticated');
    expectProblem(await get(signedBefore.accessToken), 401, 'unauthenticated');
    await after.api().get('/.well-known/jwks.json').expect(200, { keys: [] });
    // A refresh token is in the database and outlives every key.
    const answer = await after
      .api()
      .post('/v1/auth/refresh')
      .send({ refreshToken: signedBefore.refreshToken });
    expect(answer.status).toBe(200);
    await get((answer.body as { accessToken: string }).accessToken).expect(200);
  } finally {
    await after.tenantry.stop();
  }
});
