import type { KeyObject } from 'node:crypto';
import type { Logger } from 'pino';
import { deriveKey, secretKey, type SigningKey } from './auth/signing-keys.ts';
import { createTokens, type Tokens } from './auth/tokens.ts';
import type { Clock } from './clock.ts';
import { type Config, ConfigError, missingSigner } from './config.ts';
import type { Directory } from './control/directory.ts';
import { createRevocations, type Revocations } from './control/revocations.ts';
import { type Database, recordEvent } from './db/index.ts';
import { createKeyHolders, type KeyHolders } from './features/api-keys/holders.ts';
import type { TenantCredentials } from './http/authenticate.ts';
import type { TenantFinder } from './http/resolve-tenant.ts';

interface Parts {
  config: Config;
  clock: Clock;
  logger: Logger;
}

/** With which keys tokens are signed and checked. @throws ConfigError without JWT_SECRET or JWT_KEYS */
export function signingKeysOf({ JWT_KEYS, JWT_SECRET }: Config): SigningKey[] {
  // Tokens that name no key are JWT_SECRET's, so that a change to JWT_KEYS logs nobody out.
  const keys = [...(JWT_KEYS ?? []), ...(JWT_SECRET === undefined ? [] : [secretKey(JWT_SECRET)])];
  if (keys.length === 0) throw new ConfigError([missingSigner]);
  return keys;
}

export function tokensOf({ config, clock }: Pick<Parts, 'config' | 'clock'>): Tokens {
  return createTokens({ keys: signingKeysOf(config), ttlS: config.ACCESS_TOKEN_TTL_S, clock });
}

/** A key for another use than tokens: from JWT_SECRET or, without it, from the key that signs. */
export function keyFor(config: Config, use: string): KeyObject {
  const [key] = keysFor(config, use);
  if (key === undefined) throw new ConfigError([missingSigner]);
  return key;
}

/** The same from every secret there is, that of keyFor() first: what was made before keys were changed can be read. */
export function keysFor({ JWT_KEYS = [], JWT_SECRET }: Config, use: string): KeyObject[] {
  return [JWT_SECRET, ...JWT_KEYS.map(({ sign }) => sign)].flatMap((source) =>
    source === undefined ? [] : [deriveKey(source, use)],
  );
}

/** What is known of credentials that were given out: which have ended, and whose they are. */
export interface IssuedCredentials {
  revocations: Revocations;
  keyHolders: KeyHolders;
}

export function buildIssued({ config, clock, logger }: Parts, db: Database): IssuedCredentials {
  return {
    revocations: createRevocations(db, { tokenTtlS: config.ACCESS_TOKEN_TTL_S, clock }),
    keyHolders: createKeyHolders({
      db,
      clock,
      onTouchFailed: (error) =>
        logger.warn({ error: (error as Error).message }, 'the last use of a key could not be noted'),
    }),
  };
}

/** How the tenant API finds out who asks, and of which tenant. */
export function tenantEdge(
  tokens: Tokens,
  { revocations, keyHolders }: IssuedCredentials,
  { db, directory }: { db: Database; directory: Directory },
): TenantCredentials & TenantFinder {
  const find = (slugOrId: string) => directory.find(slugOrId);
  return {
    tokens,
    find,
    findTenant: find,
    findKey: (tenant, key) => keyHolders.find(tenant, key),
    isRevoked: (claims) => revocations.isRevoked(claims),
    async reportMismatch(scope, claimed) {
      const event = { action: 'auth.tenant_mismatch', resource: 'tenants', resourceId: scope.tenant.id };
      await db.writeOne(scope, (session) => recordEvent(session, { ...event, after: { claimed } }));
    },
  };
}
