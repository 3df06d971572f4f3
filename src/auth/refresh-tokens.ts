import { createHash, createHmac, type KeyObject, randomBytes } from 'node:crypto';

/**
 * Refresh tokens are random, not signed; only their hash is stored. `rt_<tenant id>_<secret>`: the tenant is part of
 * the credential, so no header is needed to refresh.
 */
export interface RefreshToken {
  token: string;
  hash: string;
}

const pattern = /^rt_([0-9a-f-]{36})_[\w-]{43}$/;

export function newRefreshToken(tenantId: string): RefreshToken {
  const token = `rt_${tenantId}_${randomBytes(32).toString('base64url')}`;
  return { token, hash: hashRefreshToken(token) };
}

/**
 * The token that follows another one: always the same, so that a client which asks twice, because two of its tabs
 * did or an answer was lost, is given one successor and not a second chain beside the first.
 *
 * @param key without which nobody can tell the successor of a token
 */
export function nextRefreshToken(token: string, tenantId: string, key: KeyObject): RefreshToken {
  const next = `rt_${tenantId}_${createHmac('sha256', key).update(token).digest('base64url')}`;
  return { token: next, hash: hashRefreshToken(next) };
}

/** 256 random bits need no slow hash. */
export function hashRefreshToken(token: string): string {
  return createHash('sha256').update(token).digest('base64url');
}

/** The tenant a refresh token says it is of; undefined when it is not one. */
export function tenantOfRefreshToken(token: string): string | undefined {
  return pattern.exec(token)?.[1];
}
