import { describe, expect, it } from '@jest/globals';
import jwt from 'jsonwebtoken';
import { createPasswords } from '../../src/auth/passwords.ts';
import { actions, may, roles } from '../../src/auth/roles.ts';
import { secretKey } from '../../src/auth/signing-keys.ts';
import { createTokens } from '../../src/auth/tokens.ts';
import { createTestClock } from '../support/clock.ts';

const secret = 'a key that is only good for tests, 32 characters or more';

describe('passwords', () => {
  const passwords = createPasswords(4);

  it('match their own hash and no other', async () => {
    const hash = await passwords.hash('correct horse');
    await expect(passwords.verify('correct horse', hash)).resolves.toBe(true);
    await expect(passwords.verify('correct horsf', hash)).resolves.toBe(false);
  });

  it('never match for an unknown user', async () => {
    await expect(passwords.verify('nobody has this password', undefined)).resolves.toBe(false);
  });

  it('over 72 bytes are refused, not cut: bcrypt would take the first 72 for the whole', async () => {
    await expect(passwords.hash('é'.repeat(37))).rejects.toMatchObject({ code: 'invalid_input' });
    const hash = await passwords.hash('x'.repeat(72));
    await expect(passwords.verify('x'.repeat(73), hash)).resolves.toBe(false);
  });
});

describe('access tokens', () => {
  const clock = createTestClock();
  const tokens = createTokens({ keys: [secretKey(secret)], ttlS: 900, clock });
  const claims = { userId: 'u', tenantId: 't', role: 'member', credentialsVersion: 3 };
  const valid = { sub: 'u', tid: 't', role: 'member', iss: 'tenantry', aud: 'tenantry' };
  const header = { alg: 'HS256' as const, typ: 'at+jwt' };

  it('carry user, tenant and role', () => {
    expect(tokens.verifyTenant(tokens.signUser(claims))).toEqual({ kind: 'user', ...claims });
  });

  it('end after their life', () => {
    const token = tokens.signUser(claims);
    clock.advance(901_000);
    expect(() => tokens.verifyTenant(token)).toThrow('not valid or has expired');
  });

  it.each<[string, string]>([
    ['of an operator', tokens.signOperator({ operatorId: 'o' })],
    ['without exp', jwt.sign(valid, secret, { header })],
    ['of another type', jwt.sign(valid, secret, { expiresIn: 60 })],
    ['of another issuer', jwt.sign({ ...valid, iss: 'x' }, secret, { header, expiresIn: 60 })],
    ['for another audience', jwt.sign({ ...valid, aud: 'x' }, secret, { header, expiresIn: 60 })],
    ['of another key', jwt.sign(valid, `${secret}!`, { header, expiresIn: 60 })],
    [
      'of another algorithm',
      jwt.sign(valid, secret, { header: { ...header, alg: 'HS512' }, algorithm: 'HS512' }),
    ],
    ['without a signature', jwt.sign(valid, '', { header: { ...header, alg: 'none' }, algorithm: 'none' })],
    ['without a tenant', jwt.sign({ ...valid, tid: undefined }, secret, { header, expiresIn: 60 })],
    ['that is none', 'a.b.c'],
  ])('%s are refused', (_what, token) => {
    expect(() => tokens.verifyTenant(token)).toThrow(expect.objectContaining({ code: 'unauthenticated' }));
  });
});

describe('roles', () => {
  it('allow more the higher they are, and nothing to who has none', () => {
    const counts = roles.map((role) => actions.filter((action) => may(role, action)).length);
    expect(counts).toEqual([8, 7, 2, 1]);
    expect(may(undefined, 'read')).toBe(false);
    expect(may('constructor', 'read')).toBe(false);
  });
});
