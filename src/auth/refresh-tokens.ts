import { createHash, randomBytes } from 'node:crypto';

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

/** 256 random bits need no slow hash. */
export function hashRefreshToken(token: string): string {
  return createHash('sha256').update(token).digest('base64url');
}

/** The tenant a refresh token says it is of; undefined when it is not one. */
export function tenantOfRefreshToken(token: string): string | undefined {
  return pattern.exec(token)?.[1];
}
