import { v7 as uuidv7 } from 'uuid';
import type { Passwords } from '../../auth/passwords.ts';
import {
  type Author,
  type ControlDatabase,
  type Page,
  type PageRequest,
  schemaOf,
  type Tenant,
  tenantId,
  translateError,
  type WriteSession,
} from '../../db/index.ts';
import { notFound } from '../../errors.ts';
import { recordPlatformEvent } from '../audit/repository.ts';
import type { Directory } from '../directory.ts';
import { claimKey, findAnswer, type IdempotentRequest, keepAnswer } from '../idempotency.ts';
import type { Migrator } from '../migrations/migrator.ts';
import { nextStatus, remembersPrior, type TenantAction, type TenantStatus } from './lifecycle.ts';
import {
  countTenants,
  findTenant,
  insertTenant,
  type LockedTenant,
  lockTenant,
  pageOfTenants,
  updateStatus,
  updateTenant,
} from './repository.ts';
import type { CreateTenant, PatchTenant, TenantView } from './schema.ts';
import type { WarmPool } from './warm.ts';

export interface TenantService {
  /**
   * Onboards a tenant: its row, for `schema` isolation its schema with all migrations, and its owner, in one
   * transaction. Whatever fails, and whenever the process dies, nothing is left of it.
   *
   * @param author whom the audit names; a command by default
   * @throws AppError slug_taken
   */
  create(input: CreateTenant, author?: Author): Promise<TenantView>;
  /**
   * As create(), once for each key: asked again with the same key, it answers what it answered.
   *
   * @throws AppError slug_taken, request_under_way, idempotency_key_reused
   */
  createOnce(
    input: CreateTenant,
    request: IdempotentRequest,
    author?: Author,
  ): Promise<{ tenant: TenantView; again: boolean }>;
  /** @throws AppError not_found, illegal_state */
  patch(slugOrId: string, patch: PatchTenant, author?: Author): Promise<TenantView>;
  /**
   * Moves a tenant to its next status. Every process knows of it within a second.
   *
   * @throws AppError not_found, illegal_state
   */
  change(
    slugOrId: string,
    action: 'suspend' | 'resume' | 'delete' | 'restore',
    author?: Author,
  ): Promise<TenantView>;
  /** @throws AppError not_found */
  get(slugOrId: string): Promise<TenantView>;
  find(slugOrId: string): Promise<TenantView | undefined>;
  /** By time of creation. */
  list(request: PageRequest<TenantView>): Promise<Page<TenantView>>;
  count(): Promise<number>;
}

export interface TenantServiceParts {
  database: ControlDatabase;
  migrator: Migrator;
  passwords: Passwords;
  /** Told that tenants have changed; absent where no data plane is served. */
  directory?: Directory;
  /** Schemas that are ready, and told when one may be missing; without it each tenant's is made. */
  warm?: Pick<WarmPool, 'claim'> & { tend(): void };
  /** Makes the first user of a tenant; the users' own room knows how. */
  insertOwner: (session: WriteSession, owner: { email: string; passwordHash: string }) => Promise<void>;
  /** Told of every step that a crash could come after. For tests. */
  step?: Step;
}

/** A named place in the work, which a test may make the last one that a process comes to. */
export type Step = (name: string) => Promise<void> | void;

/** Of the command line, where nobody has logged in. */
export const command: Author = { actor: { kind: 'platform', id: 'cli' } };

export function createTenantService(parts: TenantServiceParts): TenantService {
  const { database, migrator, passwords, directory, warm, insertOwner, step = () => undefined } = parts;

  async function make(
    input: CreateTenant,
    request: IdempotentRequest | undefined,
    author: Author,
  ): Promise<{ tenant: TenantView; again: boolean }> {
    const { slug, isolation, owner } = input;
    const passwordHash = await passwords.hash(owner.password);
    const tenant: Tenant = {
      id: tenantId(uuidv7()),
      slug,
      isolation,
      schema: schemaOf(isolation, slug),
    };
    const making = migrator.inSchema(tenant.schema, async (work) => {
      const ended = request && (await claimKey(await work.session(), request));
      if (ended !== undefined) return { tenant: ended.body as TenantView, again: true };
      await insertTenant(await work.session(), tenant, input);
      await step('create: the row is there');
      if (isolation === 'schema' && (await warm?.claim(work, tenant.schema)) === true) {
        await step('create: a schema that waited is its own');
      } else if (isolation === 'schema') {
        await work.createSchema();
        await step('create: the schema is there');
        await work.climb();
        await step('create: the schema is migrated');
      }
      await insertOwner(await work.session(tenant, author), { email: owner.email, passwordHash });
      await step('create: the owner is there');
      const session = await work.session();
      const { name, limits } = input;
      await recordPlatformEvent(session, author, {
        ...{ action: 'tenants.create', resource: 'tenants', resourceId: tenant.id, tenantId: tenant.id },
        after: { slug, name, isolation, limits, owner: { email: owner.email } },
      });
      const made = required(await findTenant(session, tenant.id));
      if (request !== undefined) await keepAnswer(session, request, { status: 201, body: made }, tenant.id);
      return { tenant: made, again: false };
    });
    const made = await making.catch((error: unknown) => {
      throw translateError(error);
    });
    await step('create: committed');
    await directory?.refresh();
    if (isolation === 'schema') warm?.tend();
    return made;
  }

  const find = (slugOrId: string) => database.read((session) => findTenant(session, slugOrId));

  return {
    async create(input, author = command) {
      return (await make(input, undefined, author)).tenant;
    },
    async createOnce(input, request, author = command) {
      const kept = await database.read((session) => findAnswer(session, request));
      if (kept !== undefined) return { tenant: kept.body as TenantView, again: true };
      return make(input, request, author);
    },
    async patch(slugOrId, patch, author = command) {
      const view = await database.write(async (session) => {
        const { tenant } = await requireTenant(session, slugOrId, 'update');
        const before = required(await findTenant(session, tenant.id));
        await updateTenant(session, tenant.id, patch);
        const after = required(await findTenant(session, tenant.id));
        await recordPlatformEvent(session, author, {
          ...{ action: 'tenants.update', resource: 'tenants', resourceId: tenant.id, tenantId: tenant.id },
          ...{ before: patched(before, patch), after: patched(after, patch) },
        });
        return after;
      });
      await directory?.refresh();
      return view;
    },
    async change(slugOrId, action, author = command) {
      const view = await database.write((session) => changeStatus(session, slugOrId, action, author));
      await directory?.refresh();
      return view;
    },
    find,
    async get(slugOrId) {
      const view = await find(slugOrId);
      if (view === undefined) throw notFound('There is no such tenant.');
      return view;
    },
    list: (request) => database.read((session) => pageOfTenants(session, request)),
    count: () => database.read(countTenants),
  };
}

/** A tenant, locked, that allows the action. @throws AppError not_found, illegal_state */
export async function requireTenant(
  session: WriteSession,
  slugOrId: string,
  action: TenantAction,
): Promise<LockedTenant & { next: TenantStatus }> {
  const locked = await lockTenant(session, slugOrId);
  if (locked === undefined) throw notFound('There is no such tenant.');
  return { ...locked, next: nextStatus(locked, action) };
}

/** In the caller's transaction. A repetition, which changes nothing, is no event. @throws AppError not_found, illegal_state */
async function changeStatus(
  session: WriteSession,
  slugOrId: string,
  action: TenantAction,
  author: Author,
): Promise<TenantView> {
  const { tenant, status, next } = await requireTenant(session, slugOrId, action);
  if (next !== status) {
    await updateStatus(session, tenant.id, next, remembersPrior.has(next) ? status : null);
    await recordPlatformEvent(session, author, {
      ...{ action: `tenants.${action}`, resource: 'tenants', resourceId: tenant.id, tenantId: tenant.id },
      ...{ before: { status }, after: { status: next } },
    });
  }
  return required(await findTenant(session, tenant.id));
}

/** What of a tenant a patch is about. */
function patched(view: TenantView, patch: PatchTenant): object {
  return Object.fromEntries(Object.entries(view).filter(([field]) => field in patch));
}

function required(view: TenantView | undefined): TenantView {
  if (view === undefined) throw new Error('A tenant that has just been written is not there');
  return view;
}
