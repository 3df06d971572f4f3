import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';

/**
 * Access tokens: JSON Web Tokens by RFC 9068 (`typ: at+jwt`), checked by RFC 8725: one algorithm, issuer, audience,
 * expiry and type are all enforced. jsonwebtoken by itself takes a token without `exp`.
 */
export interface UserClaims {
  userId: string;
  tenantId: string;
  role: string;
}

export interface OperatorClaims {
  operatorId: string;
}

export interface Tokens {
  /** Life of an access token, seconds. */
  readonly expiresInS: number;
  signUser(claims: UserClaims): string;
  /** @throws AppError unauthenticated */
  verifyUser(token: string): UserClaims;
  signOperator(claims: OperatorClaims): string;
  /** @throws AppError unauthenticated */
  verifyOperator(token: string): OperatorClaims;
}

const issuer = 'tenantry';
const audience = { user: 'tenantry', operator: 'tenantry-admin' } as const;
const algorithm = 'HS256';
const type = 'at+jwt';

type Payload = jwt.JwtPayload & { exp: number; sub: string };

/** A client sends the same token with every request; checking it once in a while is enough. */
const verifiedTokens = { max: 10_000, ttl: 5000 };

export function createTokens(options: { secret: string; ttlS: number; clock: Clock }): Tokens {
  const { ttlS, clock } = options;
  // As a KeyObject a check takes 8 µs; with the secret as a string jsonwebtoken takes 350.
  const key = createSecretKey(Buffer.from(options.secret));

  const verified = new LRUCache<string, Payload>(verifiedTokens);

  function sign(subject: string, aud: string, claims: object): string {
    const iat = Math.floor(clock.nowMs() / 1000);
    return jwt.sign({ ...claims, iat, exp: iat + ttlS }, key, {
      algorithm,
      issuer,
      audience: aud,
      subject,
      header: { alg: algorithm, typ: type },
    });
  }

  function verify(token: string, aud: string): Payload {
    const cached = `${aud} ${token}`;
    const known = verified.get(cached);
    const nowS = Math.floor(clock.nowMs() / 1000);
    if (known !== undefined && nowS < known.exp) return known;
    const payload = verifyAnew(token, aud, nowS);
    verified.set(cached, payload);
    return payload;
  }

  function verifyAnew(token: string, aud: string, nowS: number): Payload {
    try {
      const { header, payload } = jwt.verify(token, key, {
        algorithms: [algorithm],
        issuer,
        audience: aud,
        complete: true,
        clockTimestamp: nowS,
      });
      if (typeof payload === 'string' || header.typ !== type) throw new Error('not an access token');
      const { exp, sub } = payload;
      if (exp === undefined || sub === undefined) throw new Error('exp or sub is missing');
      return { ...payload, exp, sub };
    } catch (cause) {
      throw new AppError('unauthenticated', 'The access token is not valid or has expired.', { cause });
    }
  }

  return {
    expiresInS: ttlS,
    signUser: ({ userId, tenantId, role }) => sign(userId, audience.user, { tid: tenantId, role }),
    verifyUser(token) {
      const { sub, tid, role } = verify(token, audience.user) as { sub: string; tid?: string; role?: string };
      if (typeof tid !== 'string' || typeof role !== 'string') {
        throw new AppError('unauthenticated', 'The access token names no tenant.');
      }
      return { userId: sub, tenantId: tid, role };
    },
    signOperator: ({ operatorId }) => sign(operatorId, audience.operator, {}),
    verifyOperator: (token) => ({ operatorId: verify(token, audience.operator).sub }),
  };
}

/** A key for one other use of the same secret, such as page cursors; it tells nothing about the secret. */
export function deriveKey(secret: string, use: string): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync('sha256', secret, '', use, 32)));
}
