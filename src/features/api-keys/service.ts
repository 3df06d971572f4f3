import { apiKeyOf, newKeySecret } from '../../auth/api-keys.ts';
import { type Clock, isoTime } from '../../clock.ts';
import {
  countIn,
  type CountOptions,
  type Database,
  type Deletion,
  type PageRequest,
  requireWithinLimit,
  type TenantScope,
  type Versions,
  type WriteSession,
} from '../../db/index.ts';
import { AppError } from '../../errors.ts';
import type { ResourceService } from '../../http/resource-routes.ts';
import { type ApiKey, apiKeys } from './repository.ts';
import type { ApiKeyView, CreateApiKey, NewApiKeyView, PatchApiKey } from './schema.ts';

export interface ApiKeyService
  extends Omit<ResourceService<ApiKeyView, CreateApiKey, PatchApiKey>, 'restore'> {
  /**
   * The key belongs to the user who makes it: it ends with the user, and never may more than the user.
   *
   * @throws AppError limit_reached for a tenant that has all the keys it may have
   */
  create(scope: TenantScope, input: CreateApiKey): Promise<NewApiKeyView>;
  patch(scope: TenantScope, id: string, changes: PatchApiKey, versions?: Versions): Promise<ApiKeyView>;
  /** Revokes it: in this process at once, in others within a second. */
  remove(scope: TenantScope, id: string, versions?: Versions): Promise<Deletion>;
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
      const page = request as unknown as PageRequest<ApiKey>; // sorts and filters by fields of both
      const { rows, ...ends } = await db.read(scope, (session) => apiKeys.page(session, page));
      return { rows: rows.map(apiKeyView), ...ends };
    },
    count: (scope, where, more) =>
      db.read(scope, (session) =>
        countIn(session, apiKeys, where as Partial<ApiKey> | undefined, more as CountOptions<ApiKey>),
      ),
    get: async (scope, id, options) =>
      apiKeyView(await db.read(scope, (session) => apiKeys.require(session, id, options))),
    create: (scope, input) =>
      db.write(scope, async (session) => {
        const key = await insertApiKey(session, input, { userId: scope.actor.id, clock });
        await requireWithinLimit(session, apiKeys, 'apiKeys');
        return key;
      }),
    patch: async (scope, id, changes, versions) =>
      apiKeyView(await db.write(scope, (session) => apiKeys.update(session, id, changes, versions))),
    async remove(scope, id, versions) {
      const deletion = await db.write(scope, (session) => revokeApiKey(session, id, versions));
      forget(scope.tenant.id, id);
      return deletion;
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

/** @throws AppError not_found, precondition_failed */
export function revokeApiKey(session: WriteSession, id: string, versions?: Versions): Promise<Deletion> {
  return apiKeys.softDelete(session, id, versions);
}

function apiKeyView({ secretHash: _secret, scopes, ...shown }: ApiKey): ApiKeyView {
  return { ...shown, scopes: scopes.split(' ') as ApiKeyView['scopes'] };
}
