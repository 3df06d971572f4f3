import { v7 as uuidv7 } from 'uuid';
import type { Passwords } from '../../auth/passwords.ts';
import {
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
import type { Directory } from '../directory.ts';
import type { Migrator } from '../migrations/migrator.ts';
import { countTenants, findTenant, insertTenant, pageOfTenants } from './repository.ts';
import type { CreateTenant, TenantView } from './schema.ts';

export interface TenantService {
  /**
   * Onboards a tenant: its row, for `schema` isolation its schema with all migrations, and its owner, in one
   * transaction. Whatever fails, and whenever the process dies, nothing is left of it.
   *
   * @throws AppError slug_taken
   */
  create(input: CreateTenant): Promise<TenantView>;
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
  /** Told of new tenants; absent where no data plane is served. */
  directory?: Directory;
  /** Makes the first user of a tenant; the users' own room knows how. */
  insertOwner: (session: WriteSession, owner: { email: string; passwordHash: string }) => Promise<void>;
}

export function createTenantService(parts: TenantServiceParts): TenantService {
  const { database, migrator, passwords, directory, insertOwner } = parts;

  async function create(input: CreateTenant): Promise<TenantView> {
    const { slug, isolation, owner } = input;
    const passwordHash = await passwords.hash(owner.password);
    const tenant: Tenant = {
      id: tenantId(uuidv7()),
      slug,
      isolation,
      schema: schemaOf(isolation, slug),
    };
    const making = migrator.inSchema(tenant.schema, async (work) => {
      await insertTenant(await work.session(), tenant, input);
      if (isolation === 'schema') {
        await work.createSchema();
        await work.climb();
      }
      await insertOwner(await work.session(tenant), { email: owner.email, passwordHash });
      return findTenant(await work.session(), tenant.id);
    });
    const view = await making.catch((error: unknown) => {
      throw translateError(error);
    });
    directory?.forget(tenant);
    if (view === undefined) throw new Error('The tenant that was just made is not there');
    return view;
  }

  const find = (slugOrId: string) => database.read((session) => findTenant(session, slugOrId));

  return {
    create,
    find,
    async get(slugOrId) {
      const view = await find(slugOrId);
      if (view === undefined) throw notFound();
      return view;
    },
    list: (request) => database.read((session) => pageOfTenants(session, request)),
    count: () => database.read(countTenants),
  };
}
