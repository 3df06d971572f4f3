import { createSecretKey } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { tenantIdOf, userIdOf } from './population.ts';

/** Access tokens of the population's users, as a login would give them. Each is made once. */
export type Mint = (tenant: number, user: number) => string;

/** @param secret the server's JWT_SECRET */
export function createMint(secret: string): Mint {
  const key = createSecretKey(Buffer.from(secret));
  const minted = new Map<string, string>();
  return (tenant, user) => {
    const subject = userIdOf(tenant, user);
    const known = minted.get(subject);
    if (known !== undefined) return known;
    const token = jwt.sign({ tid: tenantIdOf(tenant), role: 'member' }, key, {
      algorithm: 'HS256',
      issuer: 'tenantry',
      audience: 'tenantry',
      subject,
      expiresIn: '2h', // longer than any run
      header: { alg: 'HS256', typ: 'at+jwt' },
    });
    minted.set(subject, token);
    return token;
  };
}
