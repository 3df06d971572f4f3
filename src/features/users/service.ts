import type { Passwords } from '../../auth/passwords.ts';
import { may } from '../../auth/roles.ts';
import type { Database, PageRequest, ReadSession, TenantScope, WriteSession } from '../../db/index.ts';
import { AppError } from '../../errors.ts';
import type { ResourceService } from '../../http/resource-routes.ts';
import { type User, users } from './repository.ts';
import type { CreateUser, PatchUser, UserView } from './schema.ts';

/**
 * Only owners make, change or remove owners (forbidden), a tenant keeps at least one (last_owner), and an address
 * belongs to one user (email_taken).
 */
export type UserService = ResourceService<UserView, CreateUser, PatchUser>;

export type { User };

export function createUserService(parts: { db: Database; passwords: Passwords }): UserService {
  const { db, passwords } = parts;
  return {
    async list(scope, request) {
      const { rows, next } = await db.read(scope, (session) =>
        users.page(session, request as PageRequest<User>),
      );
      return { rows: rows.map(userView), next };
    },
    count: (scope, where) => db.read(scope, (session) => users.count(session, where ?? {})),
    get: async (scope, id) => userView(await db.read(scope, (session) => users.require(session, id))),

    async create(scope, { password, ...input }) {
      requireOwnerFor(scope, input.role);
      const passwordHash = await passwords.hash(password);
      return userView(await db.write(scope, (session) => users.insert(session, { ...input, passwordHash })));
    },

    async patch(scope, id, { password, ...changes }) {
      requireOwnerFor(scope, changes.role);
      const hashed = password === undefined ? {} : { passwordHash: await passwords.hash(password) };
      return db.write(scope, async (session) => {
        const { role } = await users.require(session, id);
        const leaves = changes.role !== undefined && changes.role !== 'owner';
        if (role === 'owner' && leaves) await requireAnotherOwner(session, id);
        // Locked, and looked at again: an admin must not change somebody who becomes an owner at this moment.
        requireOwnerFor(scope, (await users.require(session, id, { lock: true })).role);
        return userView(await users.update(session, id, { ...changes, ...hashed }));
      });
    },

    async remove(scope, id) {
      await db.write(scope, async (session) => {
        const { role } = await users.require(session, id);
        if (role === 'owner') await requireAnotherOwner(session, id);
        requireOwnerFor(scope, (await users.require(session, id, { lock: true })).role);
        await users.softDelete(session, id);
      });
    },

    async restore(scope, id) {
      return db.write(scope, async (session) => {
        const { row } = await users.restore(session, id);
        requireOwnerFor(scope, row.role);
        return userView(row);
      });
    },
  };
}

/** The first user of a new tenant, within the unit of work that makes the tenant. */
export async function insertOwner(
  session: WriteSession,
  { email, passwordHash }: { email: string; passwordHash: string },
): Promise<void> {
  await users.insert(session, { email, name: null, role: 'owner', passwordHash });
}

/** For logging in. */
export async function findByEmail(session: ReadSession, email: string): Promise<User | undefined> {
  return (await users.findWhere(session, { email }))[0];
}

/** For a neighbour's reference to a user. */
export function findUser(session: ReadSession, id: string): Promise<User | undefined> {
  return users.find(session, id);
}

export function userView({ id, email, name, role, version, createdAt, updatedAt }: User): UserView {
  return { id, email, name, role, version, createdAt, updatedAt };
}

/** Only an owner may make, change or remove owners: an admin could otherwise become one. */
function requireOwnerFor({ actor }: TenantScope, role: string | undefined): void {
  if (role === 'owner' && !may(actor.role, 'manage-owners')) {
    throw new AppError('forbidden', 'Only an owner may do this with an owner.');
  }
}

/** The owners are locked, all in one order, so that two of them cannot remove each other at the same time. */
async function requireAnotherOwner(session: WriteSession, id: string): Promise<void> {
  const owners = await users.findWhere(session, { role: 'owner' });
  const locked = await users.findMany(
    session,
    owners.map((owner) => owner.id),
    { lock: true },
  );
  if (!locked.some((owner) => owner.role === 'owner' && owner.id !== id)) {
    throw new AppError('last_owner', 'This is the only owner of the tenant.');
  }
}
