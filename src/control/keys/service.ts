import { type Author, schemaOf, type Tenant, tenantId, type WriteSession } from '../../db/index.ts';
import { recordPlatformEvent } from '../audit/repository.ts';
import type { Migrator } from '../migrations/migrator.ts';
import { requireRows } from '../tenants/lifecycle.ts';
import type { TenantService } from '../tenants/service.ts';

/** API keys that the platform makes for a tenant: the first one of an integration, before anybody has logged in. */
export interface TenantKeyService<Input, Made> {
  /** The key belongs to no user, and is bounded by its scopes alone. @throws AppError not_found for the tenant */
  create(slugOrId: string, input: Input, author: Author): Promise<Made>;
  /** Processes that serve know within a second. @throws AppError not_found for the tenant or the key */
  revoke(slugOrId: string, keyId: string, author: Author): Promise<void>;
}

export interface TenantKeyServiceParts<Input, Made> {
  tenants: Pick<TenantService, 'get'>;
  migrator: Pick<Migrator, 'inSchema'>;
  /** The room of the keys knows how. */
  insertKey: (session: WriteSession, input: Input) => Promise<Made>;
  revokeKey: (session: WriteSession, keyId: string) => Promise<void>;
}

export function createTenantKeyService<Input, Made extends { id: string; name: string; scopes: string[] }>(
  parts: TenantKeyServiceParts<Input, Made>,
): TenantKeyService<Input, Made> {
  const { tenants, migrator, insertKey, revokeKey } = parts;

  async function inTenant<T>(
    slugOrId: string,
    author: Author,
    fn: (session: WriteSession, tenant: Tenant) => Promise<T>,
  ): Promise<T> {
    const view = await tenants.get(slugOrId);
    requireRows(view);
    const { id, slug, isolation } = view;
    const tenant: Tenant = { id: tenantId(id), slug, isolation, schema: schemaOf(isolation, slug) };
    return migrator.inSchema(tenant.schema, async (work) => fn(await work.session(tenant, author), tenant));
  }

  return {
    create: (slugOrId, input, author) =>
      inTenant(slugOrId, author, async (session, { id }) => {
        const made = await insertKey(session, input);
        const { name, scopes } = made;
        const event = { action: 'api_keys.create', resource: 'api_keys', resourceId: made.id, tenantId: id };
        await recordPlatformEvent(session, author, { ...event, after: { name, scopes } });
        return made;
      }),
    revoke: (slugOrId, keyId, author) =>
      inTenant(slugOrId, author, async (session, { id }) => {
        await revokeKey(session, keyId);
        const event = { action: 'api_keys.delete', resource: 'api_keys', resourceId: keyId, tenantId: id };
        await recordPlatformEvent(session, author, event);
      }),
  };
}
