import { createHmac, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import jwt from 'jsonwebtoken';
import { loadConfig } from '../../src/config.ts';
import { keyFor, signingKeysOf } from '../../src/credentials.ts';
import { parseSigningKeys, secretKey, type SigningKey } from '../../src/auth/signing-keys.ts';
import { createTokens, type Tokens } from '../../src/auth/tokens.ts';
import { createTestClock } from '../support/clock.ts';

const clock = createTestClock();
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const jwk = (key: KeyObject) => key.export({ format: 'jwk' });
const es256 = { ...jwk(ec.privateKey), kid: 'es', alg: 'ES256' };
const rs256 = { ...jwk(rsa.privateKey), kid: 'rs', alg: 'RS256', use: 'sig' };
const hs256 = { kty: 'oct', k: randomBytes(32).toString('base64url'), kid: 'hs', alg: 'HS256' };
const secret = 'a key that is only good for tests, 32 characters or more';
const set = (...keys: object[]) => JSON.stringify({ keys });

function keysOf(...given: object[]): SigningKey[] {
  const { keys, problems } = parseSigningKeys(set(...given));
  expect(problems).toEqual([]);
  return keys ?? [];
}

const tokensOf = (...given: object[]): Tokens => createTokens({ keys: keysOf(...given), ttlS: 900, clock });
const claims = { userId: 'u', tenantId: 't', role: 'member', credentialsVersion: 1 };
const headerOf = (token: string) => jwt.decode(token, { complete: true })?.header;
const refused = expect.objectContaining({ code: 'unauthenticated' });

describe('a set of keys', () => {
  it.each([
    ['HS256', hs256],
    ['ES256', es256],
    ['RS256', rs256],
  ])('signs with its first key, by %s, and says which it was', (alg, first) => {
    const tokens = tokensOf(first, ...[hs256, es256, rs256].filter((key) => key !== first));
    const token = tokens.signUser(claims);
    expect(headerOf(token)).toEqual({ alg, typ: 'at+jwt', kid: first.kid });
    expect(tokens.verifyTenant(token)).toMatchObject(claims);
    expect(tokens.verifyOperator(tokens.signOperator({ operatorId: 'o' }))).toEqual({ operatorId: 'o' });
  });

  it('is changed without a log-out: the old key goes on verifying until it leaves', () => {
    const old = tokensOf(es256).signUser(claims);
    const published = { ...jwk(ec.publicKey), kid: 'es', alg: 'ES256' };
    expect(tokensOf(rs256, es256).verifyTenant(old)).toMatchObject(claims);
    expect(tokensOf(rs256, published).verifyTenant(old)).toMatchObject(claims);
    expect(() => tokensOf(rs256).verifyTenant(old)).toThrow(refused);
  });

  it('stands beside JWT_SECRET, whose tokens name no key', () => {
    const both = createTokens({ keys: [...keysOf(es256), secretKey(secret)], ttlS: 900, clock });
    const old = createTokens({ keys: [secretKey(secret)], ttlS: 900, clock }).signUser(claims);
    expect(headerOf(old)).toEqual({ alg: 'HS256', typ: 'at+jwt' });
    expect(both.verifyTenant(old)).toMatchObject(claims);
    expect(headerOf(both.signUser(claims))).toMatchObject({ kid: 'es' });
    expect(() => tokensOf(es256).verifyTenant(old)).toThrow(refused);
  });

  it('publishes the public halves of its pairs alone', () => {
    expect(keysOf(hs256, es256, rs256).flatMap(({ published }) => published ?? [])).toEqual([
      { ...jwk(ec.publicKey), kid: 'es', alg: 'ES256', use: 'sig' },
      { ...jwk(rsa.publicKey), kid: 'rs', alg: 'RS256', use: 'sig' },
    ]);
  });
});

describe('a forged token', () => {
  const tokens = tokensOf(rs256, es256, hs256);
  const payload = {
    ...{ iss: 'tenantry', aud: 'tenantry', sub: 'u', tid: 't', role: 'owner' },
    ...{ iat: Math.floor(Date.now() / 1000), exp: Math.floor(Date.now() / 1000) + 600 },
  };
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const hmac = (header: object, key: string | Buffer) => {
    const signed = `${encode({ typ: 'at+jwt', ...header })}.${encode(payload)}`;
    return `${signed}.${createHmac('sha256', key).update(signed).digest('base64url')}`;
  };
  const pem = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' });
  const der = (key: KeyObject) => key.export({ type: 'spki', format: 'der' });
  const own = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const signedBy = (key: KeyObject, header: jwt.JwtHeader) =>
    jwt.sign(payload, key, { algorithm: header.alg as jwt.Algorithm, header: { typ: 'at+jwt', ...header } });

  it('would be let in if it were not forged, so that the refusals below are for their one fault', () => {
    expect(tokens.verifyTenant(signedBy(rsa.privateKey, { alg: 'RS256', kid: 'rs' }))).toMatchObject({
      role: 'owner',
    });
    expect(
      tokens.verifyTenant(hmac({ alg: 'HS256', kid: 'hs' }, Buffer.from(hs256.k, 'base64url'))),
    ).toMatchObject({
      role: 'owner',
    });
  });

  it.each<[string, () => string]>([
    [
      'signed with the public RSA key as if it were a secret',
      () => hmac({ alg: 'HS256', kid: 'rs' }, pem(rsa.publicKey)),
    ],
    ['the same in its binary form', () => hmac({ alg: 'HS256', kid: 'rs' }, der(rsa.publicKey))],
    [
      'signed with the public EC key as if it were a secret',
      () => hmac({ alg: 'HS256', kid: 'es' }, pem(ec.publicKey)),
    ],
    [
      'the public RSA key, under the name of the secret',
      () => hmac({ alg: 'HS256', kid: 'hs' }, pem(rsa.publicKey)),
    ],
    ['naming no key', () => signedBy(rsa.privateKey, { alg: 'RS256' })],
    ['naming a key that there is not', () => signedBy(rsa.privateKey, { alg: 'RS256', kid: 'other' })],
    ['naming another key than its own', () => signedBy(rsa.privateKey, { alg: 'RS256', kid: 'es' })],
    [
      'naming a key by an object',
      () => hmac({ alg: 'HS256', kid: { toString: 'hs' } }, Buffer.from(hs256.k, 'base64url')),
    ],
    ['naming __proto__', () => hmac({ alg: 'HS256', kid: '__proto__' }, '')],
    ['naming a file', () => hmac({ alg: 'HS256', kid: '../../../dev/null' }, '')],
    [
      'signed with a pair of its own, under our name',
      () => signedBy(own.privateKey, { alg: 'RS256', kid: 'rs' }),
    ],
    [
      'bringing its own key along',
      () => signedBy(own.privateKey, { alg: 'RS256', kid: 'rs', jwk: jwk(own.publicKey) } as never),
    ],
    ['by another algorithm of the same key', () => signedBy(rsa.privateKey, { alg: 'PS256', kid: 'rs' })],
    ['by a longer one of the same key', () => signedBy(rsa.privateKey, { alg: 'RS512', kid: 'rs' })],
    ['not signed', () => `${encode({ alg: 'none', typ: 'at+jwt', kid: 'rs' })}.${encode(payload)}.`],
    [
      'not signed, under the name of the secret',
      () => `${encode({ alg: 'none', typ: 'at+jwt', kid: 'hs' })}.${encode(payload)}.`,
    ],
  ])('is refused: %s', (_what, token) => {
    expect(() => tokens.verifyTenant(token())).toThrow(refused);
  });

  it('is refused when it claims the role of operators, who come by another way', () => {
    const key = Buffer.from(hs256.k, 'base64url');
    const token = jwt.sign({ ...payload, role: 'operator' }, key, {
      header: { alg: 'HS256', typ: 'at+jwt', kid: 'hs' },
    });
    expect(() => tokens.verifyTenant(token)).toThrow(refused);
  });
});

describe('JWT_KEYS', () => {
  const good = { DATABASE_URL: 'postgres://app:x@h/d' };
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
  const otherCurve = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;

  it.each<[string, string, RegExp]>([
    ['no JSON', 'not json', /JWT_KEYS: a JSON Web Key Set is needed/],
    ['no set', '{}', /a JSON Web Key Set is needed/],
    ['no key', set(), /a JSON Web Key Set is needed/],
    ['a key without a name', set({ ...es256, kid: undefined }), /key 1: a kid .* is needed/],
    ['a name that is none', set({ ...es256, kid: 'a b' }), /key 1: a kid/],
    ['a name twice', set(es256, { ...rs256, kid: 'es' }), /key 2: another key has the same kid/],
    ['no algorithm', set({ ...es256, alg: undefined }), /key 1: alg must be one of HS256, ES256, RS256/],
    ['the algorithm none', set({ ...hs256, alg: 'none' }), /alg must be one of/],
    ['another algorithm', set({ ...rs256, alg: 'PS256' }), /alg must be one of/],
    ['the algorithm of another key', set({ ...es256, alg: 'RS256' }), /RS256 needs kty RSA/],
    ['a pair as a secret', set({ ...rs256, alg: 'HS256' }), /HS256 needs kty oct/],
    [
      'a secret that is short',
      set({ ...hs256, k: randomBytes(31).toString('base64url') }),
      /32 bytes at least/,
    ],
    ['an RSA key that is short', set({ ...jwk(weak), kid: 'w', alg: 'RS256' }), /2048 bits at least/],
    [
      'another curve',
      set({ ...jwk(otherCurve), kid: 'c', alg: 'ES256' }),
      /ES256 needs kty EC with crv P-256/,
    ],
    ['a broken key', set({ ...es256, x: 'AA' }), /key 1: this is no key for ES256/],
    ['a key for encryption', set({ ...rs256, use: 'enc' }), /use must be sig/],
    ['a first key that cannot sign', set({ ...jwk(ec.publicKey), kid: 'p', alg: 'ES256' }), /key 1 signs/],
  ])('with %s is refused, with what is wrong and without its value', (_what, text, why) => {
    const attempt = () => loadConfig({ ...good, JWT_KEYS: text }, 'serve');
    expect(attempt).toThrow(why);
    for (const part of [es256.d, rs256.d, hs256.k]) expect(attempt).not.toThrow(part);
  });

  it('will do instead of JWT_SECRET, and keys for other uses then follow the key that signs', () => {
    const config = (...keys: object[]) => loadConfig({ ...good, JWT_KEYS: set(...keys) }, 'serve');
    const key = (...keys: object[]) =>
      keyFor(config(...keys), 'page cursors')
        .export()
        .toString('hex');
    expect(signingKeysOf(config(es256, rs256)).map(({ kid }) => kid)).toEqual(['es', 'rs']);
    expect(key(es256)).toBe(key(es256, rs256));
    expect(key(es256)).not.toBe(key(rs256, es256));
    expect(keyFor(config(es256), 'another use').export().toString('hex')).not.toBe(key(es256));
    const beside = (...keys: object[]) =>
      keyFor(loadConfig({ ...good, JWT_SECRET: secret, JWT_KEYS: set(...keys) }, 'serve'), 'page cursors');
    expect(beside(es256).equals(beside(rs256))).toBe(true);
  });

  it('or JWT_SECRET is needed to serve', () => {
    expect(() => loadConfig(good, 'serve')).toThrow(/JWT_SECRET is missing.*Or set JWT_KEYS/);
  });
});
