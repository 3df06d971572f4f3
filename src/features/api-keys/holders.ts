import { LRUCache } from 'lru-cache';
import { type ParsedApiKey, sameSecret } from '../../auth/api-keys.ts';
import type { Clock } from '../../clock.ts';
import type { Actor, Database, Tenant, TenantScope } from '../../db/index.ts';
import { AppError } from '../../errors.ts';
import { findUser } from '../users/service.ts';
import { apiKeys } from './repository.ts';

/**
 * Who is behind a key. Asked on every request with one, so what was found counts for a second: that is how long a
 * revocation takes to reach other processes.
 */
export interface KeyHolders {
  /** Undefined when the key is unknown, wrong, revoked or expired, or its user is gone; each takes as long as the others. */
  find(tenant: Tenant, key: ParsedApiKey): Promise<Actor | undefined>;
  /** Of a key that has been revoked by this process. */
  forget(tenantId: string, keyId: string): void;
}

const freshMs = 1000;
/** The bound is against callers with many keys; only keys that are there are kept. */
const maxEntries = 10_000;
/** A key's last use is written down once in this time. */
const touchEveryMs = 60_000;

interface Holder {
  actor: Actor;
  secretHash: string;
  expiresAtMs: number;
  lastUsedAtMs: number;
  foundAtMs: number;
}

export interface KeyHoldersParts {
  db: Database;
  clock: Clock;
  /** Told when a last use could not be written; nobody waits for it. */
  onTouchFailed: (error: unknown) => void;
}

export function createKeyHolders({ db, clock, onTouchFailed }: KeyHoldersParts): KeyHolders {
  const kept = new LRUCache<string, Holder>({ max: maxEntries });
  const asking = new Map<string, Promise<Holder | undefined>>();
  const touchedAtMs = new LRUCache<string, number>({ max: maxEntries });

  async function ask(tenant: Tenant, keyId: string): Promise<Holder | undefined> {
    const scope = (kind: 'strong' | 'any'): TenantScope => ({
      tenant,
      actor: { kind: 'system', id: 'api-keys' },
      consistency: { level: { kind } },
    });
    try {
      return await read(scope('strong'), keyId);
    } catch (error) {
      // While the primary is lost nothing can be revoked, and reads go on.
      if (error instanceof AppError && error.code === 'unavailable') return read(scope('any'), keyId);
      throw error;
    }
  }

  const read = (scope: TenantScope, keyId: string) =>
    db.read(scope, async (session): Promise<Holder | undefined> => {
      const key = await apiKeys.find(session, keyId);
      // Asked in any case: the time must not tell whether there is such a key.
      const user = await findUser(session, key?.userId ?? keyId);
      if (key === undefined || (key.userId !== null && user === undefined)) return undefined;
      const { secretHash, expiresAt, lastUsedAt } = key;
      return {
        // One that the platform made is nobody's, and its scopes alone bound it.
        actor: { kind: 'key', id: key.id, role: user?.role ?? 'admin', scopes: key.scopes.split(' ') },
        secretHash,
        expiresAtMs: expiresAt === null ? Infinity : Date.parse(expiresAt),
        lastUsedAtMs: lastUsedAt === null ? 0 : Date.parse(lastUsedAt),
        foundAtMs: clock.monotonicMs(),
      };
    });

  /** One question at a time per key, however many requests wait for it. */
  async function askOnce(name: string, tenant: Tenant, keyId: string): Promise<Holder | undefined> {
    const pending = asking.get(name) ?? ask(tenant, keyId);
    asking.set(name, pending);
    try {
      const holder = await pending;
      // Forgotten meanwhile: the answer may be older than the revocation, and is not kept.
      if (asking.get(name) === pending && holder !== undefined) kept.set(name, holder);
      return holder;
    } finally {
      if (asking.get(name) === pending) asking.delete(name);
    }
  }

  function touch(name: string, tenant: Tenant, { actor, lastUsedAtMs }: Holder): void {
    const since = Math.max(lastUsedAtMs, touchedAtMs.get(name) ?? 0);
    if (clock.nowMs() - since < touchEveryMs) return;
    touchedAtMs.set(name, clock.nowMs());
    // In nobody's name, so that the reads of the key do not go to the primary for it.
    const system: Actor = { kind: 'system', id: 'api-keys' };
    const scope: TenantScope = { tenant, actor: system, consistency: { level: { kind: 'strong' } } };
    db.writeOne(scope, (session) => apiKeys.touch(session, actor.id, 'lastUsedAt')).catch(onTouchFailed);
  }

  return {
    async find(tenant, { keyId, secretHash }) {
      const name = `${tenant.id}/${keyId}`;
      const known = kept.get(name);
      const fresh = known !== undefined && clock.monotonicMs() - known.foundAtMs < freshMs;
      // A wrong secret for a key that is known here takes as long as an unknown key.
      const counts = fresh && sameSecret(secretHash, known.secretHash);
      const holder = counts ? known : await askOnce(name, tenant, keyId);
      if (!sameSecret(secretHash, holder?.secretHash) || holder === undefined) return undefined;
      if (holder.expiresAtMs <= clock.nowMs()) return undefined;
      touch(name, tenant, holder);
      return holder.actor;
    },
    forget(tenantId, keyId) {
      const name = `${tenantId}/${keyId}`;
      kept.delete(name);
      asking.delete(name);
    },
  };
}
