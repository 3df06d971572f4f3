import type { KeyObject } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';
import { operatorRole } from './roles.ts';
import type { SigningKey } from './signing-keys.ts';

/**
 * Access tokens: JSON Web Tokens by RFC 9068 (`typ: at+jwt`), checked by RFC 8725: one algorithm for each key, issuer,
 * audience, expiry and type are all enforced. jsonwebtoken by itself takes a token without `exp`.
 */
export interface UserClaims {
  userId: string;
  tenantId: string;
  role: string;
  /** Of the user's credentials when it was made; a token below what has been revoked does not count. */
  credentialsVersion: number;
}

export interface OperatorClaims {
  operatorId: string;
}

/** An operator of the platform acts for a tenant. */
export interface ActingClaims extends OperatorClaims {
  tenantId: string;
}

/** Whose a token of the tenant API is. */
export type TenantClaims =
  | ({ kind: 'user' } & UserClaims)
  | ({ kind: 'operator' } & ActingClaims & { role: string });

export interface Tokens {
  /** Life of an access token, seconds. */
  readonly expiresInS: number;
  signUser(claims: UserClaims): string;
  /** Lives for `actingTtlS`. */
  signActing(claims: ActingClaims): string;
  /** @throws AppError unauthenticated */
  verifyTenant(token: string): TenantClaims;
  signOperator(claims: OperatorClaims): string;
  /** @throws AppError unauthenticated */
  verifyOperator(token: string): OperatorClaims;
}

/** How long an operator may act for a tenant before it must give its reason again, seconds. */
export const actingTtlS = 900;

const issuer = 'tenantry';
const audience = { tenant: 'tenantry', operator: 'tenantry-admin' } as const;
const type = 'at+jwt';

type Payload = jwt.JwtPayload & { exp: number; sub: string };

/** A client sends the same token with every request; checking it once in a while is enough. */
const verifiedTokens = { max: 10_000, ttl: 5000 };

export function createTokens(options: { keys: readonly SigningKey[]; ttlS: number; clock: Clock }): Tokens {
  const { keys, ttlS, clock } = options;
  const byKid = new Map(keys.map((key) => [key.kid, key]));
  const signer = keys.find(({ sign }) => sign !== undefined);

  const verified = new LRUCache<string, Payload>(verifiedTokens);

  function sign(subject: string, aud: string, claims: object, lifeS = ttlS): string {
    const iat = Math.floor(clock.nowMs() / 1000);
    const { alg, kid, key } = requireSigner();
    return jwt.sign({ ...claims, iat, exp: iat + lifeS }, key, {
      algorithm: alg,
      issuer,
      audience: aud,
      subject,
      header: { alg, typ: type, ...(kid === undefined ? {} : { kid }) },
    });
  }

  function requireSigner(): { alg: SigningKey['alg']; kid: string | undefined; key: KeyObject } {
    if (signer?.sign === undefined) throw new Error('There is no key to sign with');
    return { alg: signer.alg, kid: signer.kid, key: signer.sign };
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
      // Only chooses among our own keys; the signature covers it.
      const key = byKid.get(jwt.decode(token, { complete: true })?.header.kid);
      if (key === undefined) throw new Error('no key of ours');
      const { header, payload } = jwt.verify(token, key.verify, {
        algorithms: [key.alg],
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
      throw notValid(cause);
    }
  }

  return {
    expiresInS: ttlS,
    signUser: ({ userId, tenantId, role, credentialsVersion }) =>
      sign(userId, audience.tenant, { tid: tenantId, role, cv: credentialsVersion }),
    signActing: ({ operatorId, tenantId }) =>
      sign(operatorId, audience.tenant, { tid: tenantId, act: 'operator' }, actingTtlS),
    verifyTenant(token) {
      const payload: Payload & Record<string, unknown> = verify(token, audience.tenant);
      const { sub, tid, role, act, cv } = payload;
      if (typeof tid !== 'string') throw notValid();
      if (act === 'operator') return { kind: 'operator', operatorId: sub, tenantId: tid, role: operatorRole };
      if (typeof role !== 'string' || role === operatorRole) throw notValid();
      const credentialsVersion = typeof cv === 'number' ? cv : 0;
      return { kind: 'user', userId: sub, tenantId: tid, role, credentialsVersion };
    },
    signOperator: ({ operatorId }) => sign(operatorId, audience.operator, {}),
    verifyOperator: (token) => ({ operatorId: verify(token, audience.operator).sub }),
  };
}

/** The same words for every credential that does not count, whatever is wrong with it. */
export function notValid(cause?: unknown): AppError {
  return new AppError('unauthenticated', 'The access token is not valid or has expired.', { cause });
}
