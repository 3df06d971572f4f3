import { z } from 'zod';
import { actingTtlS, type Tokens } from '../../auth/tokens.ts';
import { type Author, recordEvent, schemaOf, type Tenant, tenantId } from '../../db/index.ts';
import { requireServable } from '../../http/resolve-tenant.ts';
import { recordPlatformEvent } from '../audit/repository.ts';
import type { Directory } from '../directory.ts';
import type { Migrator } from '../migrations/migrator.ts';
import { requireRows } from './lifecycle.ts';
import type { TenantService } from './service.ts';

export const actSchema = z.strictObject({ reason: z.string().trim().min(10).max(1000) });

/** RFC 6749, section 5.1, in camel case. It cannot be refreshed. */
export interface ActingToken {
  accessToken: string;
  tokenType: 'Bearer';
  /** Seconds. */
  expiresIn: number;
}

export interface ActingService {
  /**
   * Lets an operator work in a tenant for a quarter of an hour, with what the role `operator` allows (auth/roles.ts).
   * The reason stands in the audit of the tenant and of the platform before there is a token, and so does every change
   * made with it.
   *
   * @throws AppError not_found, illegal_state, tenant_migrating
   */
  act(slugOrId: string, reason: string, author: Author): Promise<ActingToken>;
}

export interface ActingServiceParts {
  tenants: Pick<TenantService, 'get'>;
  migrator: Pick<Migrator, 'inSchema'>;
  tokens: Tokens;
  /** Absent where no data plane is served. */
  directory?: Pick<Directory, 'find'>;
}

export function createActingService(parts: ActingServiceParts): ActingService {
  const { tenants, migrator, tokens, directory } = parts;
  return {
    async act(slugOrId, reason, author) {
      const view = await tenants.get(slugOrId);
      requireRows(view);
      const { id, slug, isolation } = view;
      requireServable(await directory?.find(id));
      const tenant: Tenant = { id: tenantId(id), slug, isolation, schema: schemaOf(isolation, slug) };
      const event = { action: 'operators.act', resource: 'tenants', resourceId: id, after: { reason } };
      await migrator.inSchema(tenant.schema, async (work) => {
        const session = await work.session(tenant, author);
        await recordEvent(session, event);
        await recordPlatformEvent(session, author, { ...event, tenantId: id });
      });
      const accessToken = tokens.signActing({ operatorId: author.actor.id, tenantId: id });
      return { accessToken, tokenType: 'Bearer', expiresIn: actingTtlS };
    },
  };
}
