import { apiKeyOf, newKeySecret } from '../../auth/api-keys.ts';
import { type Clock, isoTime } from '../../clock.ts';
import {
  type Database,
  type Page,
  type PageRequest,
  requireWithinLimit,
  type TenantScope,
  type WriteSession,
} from '../../db/index.ts';
import { AppError } from '../../errors.ts';
import { type ApiKey, apiKeys } from './repository.ts';
import type { ApiKeyView, CreateApiKey, NewApiKeyView, PatchApiKey } from './schema.ts';

export interface ApiKeyService {
  list(scope: TenantScope, request: PageRequest<ApiKeyView>): Promise<Page<ApiKeyView>>;
  count(scope: TenantScope, where?: Partial<ApiKeyView>): Promise<number>;
  get(scope: TenantScope, id: string): Promise<ApiKeyView>;
  /**
   * The key belongs to the user who makes it: it ends with the user, and never may more than the user.
   *
   * @throws AppError limit_reached for a tenant that has all the keys it may have
   */
  create(scope: TenantScope, input: CreateApiKey): Promise<NewApiKeyView>;
  patch(scope: TenantScope, id: string, changes: PatchApiKey): Promise<ApiKeyView>;
  /** Revokes it: in this process at once, in others within a second. */
  remove(scope: TenantScope, id: string): Promise<void>;
}

const defaultLifeMs = 90 * 24 * 3600 * 1000;

export interface ApiKeyServiceParts {
  db: Database;
  clock: Clock;
  /** Told of a key that has been revoked. */
  forget: (tenantId: string, keyId: string) => void;
}

export function createApiKeyService({ db, clock, forget }: ApiKeyServiceParts): ApiKeyService {
  return {
    async list(scope, request) {
      const page = request as PageRequest<unknown> as PageRequest<ApiKey>; // sorts and filters by fields of both
      const { rows, ...ends } = await db.read(scope, (session) => apiKeys.page(session, page));
      return { rows: rows.map(apiKeyView), ...ends };
    },
    count: (scope, where) =>
      db.read(scope, (session) => apiKeys.count(session, where as Partial<ApiKey> | undefined)),
    get: async (scope, id) => apiKeyView(await db.read(scope, (session) => apiKeys.require(session, id))),
    create: (scope, input) =>
      db.write(scope, async (session) => {
        const key = await insertApiKey(session, input, { userId: scope.actor.id, clock });
        await requireWithinLimit(session, apiKeys, 'apiKeys');
        return key;
      }),
    patch: async (scope, id, changes) =>
      apiKeyView(await db.writeOne(scope, (session) => apiKeys.update(session, id, changes))),
    async remove(scope, id) {
      await db.writeOne(scope, (session) => revokeApiKey(session, id));
      forget(scope.tenant.id, id);
    },
  };
}

/** Within the unit of work of whoever makes a key. @throws AppError invalid_input for an end that has passed */
export async function insertApiKey(
  session: WriteSession,
  { name, scopes, expiresAt }: CreateApiKey,
  { userId, clock }: { userId: string | null; clock: Clock },
): Promise<NewApiKeyView> {
  const nowMs = clock.nowMs();
  if (expiresAt && Date.parse(expiresAt) <= nowMs) {
    const message = 'This is in the past.';
    throw new AppError('invalid_input', 'A key ends in the future, or never.', {
      errors: [{ pointer: '/expiresAt', code: 'too_small', message }],
    });
  }
  const { secret, secretHash } = newKeySecret();
  const row = await apiKeys.insert(session, {
    name,
    userId,
    secretHash,
    scopes: scopes.join(' '),
    expiresAt: expiresAt === undefined ? isoTime(nowMs + defaultLifeMs) : expiresAt,
    lastUsedAt: null,
  });
  return { ...apiKeyView(row), key: apiKeyOf(session.tenant?.id ?? '', row.id, secret) };
}

/** @throws AppError not_found */
export async function revokeApiKey(session: WriteSession, id: string): Promise<void> {
  await apiKeys.softDelete(session, id);
}

function apiKeyView({ secretHash: _secret, scopes, ...shown }: ApiKey): ApiKeyView {
  return { ...shown, scopes: scopes.split(' ') };
}
