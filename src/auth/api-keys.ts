import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/**
 * API keys: `tnt_<tenant id>_<key id>_<secret>`, the ids as 32 hexadecimal digits, the secret as 50 of base 36 (256
 * random bits). None of the parts holds the `_` between them, a double click selects all of it, and a scanner of secrets
 * finds it by `\btnt_[0-9a-f]{32}_[0-9a-f]{32}_[0-9a-z]{50}\b`. The tenant is part of the credential, so no header is
 * needed, and its tables are found before the key is.
 */
export interface ParsedApiKey {
  tenantId: string;
  keyId: string;
  secretHash: string;
}

const pattern = /^tnt_([0-9a-f]{32})_([0-9a-f]{32})_([0-9a-z]{50})$/;

/** A secret, to be shown once, and what is kept of it. */
export function newKeySecret(): { secret: string; secretHash: string } {
  const secret = BigInt(`0x${randomBytes(32).toString('hex')}`)
    .toString(36)
    .padStart(50, '0');
  return { secret, secretHash: hashOf(secret) };
}

export function apiKeyOf(tenantId: string, keyId: string, secret: string): string {
  return `tnt_${tenantId.replaceAll('-', '')}_${keyId.replaceAll('-', '')}_${secret}`;
}

/** Whether a credential says that it is a key; everything else is taken for an access token. */
export function isApiKey(credential: string): boolean {
  return credential.startsWith('tnt_');
}

/** Undefined when it has not the form of a key. */
export function parseApiKey(credential: string): ParsedApiKey | undefined {
  const [, tenant, key, secret] = pattern.exec(credential) ?? [];
  if (tenant === undefined || key === undefined || secret === undefined) return undefined;
  return { tenantId: uuidOf(tenant), keyId: uuidOf(key), secretHash: hashOf(secret) };
}

/** Takes as long for an unknown key (no hash) as for a wrong secret, and then says false. */
export function sameSecret(given: string, stored: string | undefined): boolean {
  const same = timingSafeEqual(Buffer.from(given), Buffer.from(stored ?? nobodysHash));
  return same && stored !== undefined;
}

/** 256 random bits need no slow hash. */
function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('base64url');
}

const nobodysHash = hashOf('');

function uuidOf(digits: string): string {
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
