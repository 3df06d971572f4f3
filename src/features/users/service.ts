import type { Passwords } from '../../auth/passwords.ts';
import { permits } from '../../auth/roles.ts';
import {
  countIn,
  type CountOptions,
  type Database,
  type PageRequest,
  type ReadSession,
  recordEvent,
  requireWithinLimit,
  type RowLimit,
  type TenantScope,
  type WriteSession,
} from '../../db/index.ts';
import { AppError, notFound } from '../../errors.ts';
import type { ResourceService } from '../../http/resource-routes.ts';
import { type User, users } from './repository.ts';
import type { ChangePassword } from '../sessions/schema.ts';
import type { CreateUser, PatchUser, UserView } from './schema.ts';

/**
 * Only owners make, change or remove owners (forbidden), a tenant keeps at least one (last_owner), and an address
 * belongs to one user (email_taken). API keys do not touch admins either. Tenants may have a limit of users
 * (limit_reached).
 *
 * Whoever is removed, or gets another role or password, has no access token any more; a new role is in the token of the
 * next refresh, and a new password ends the refresh tokens, too.
 */
export interface UserService extends ResourceService<UserView, CreateUser, PatchUser> {
  /** A user's own. @throws AppError invalid_credentials unless `currentPassword` is right, not_found for who is no user */
  changePassword(scope: TenantScope, input: ChangePassword): Promise<void>;
}

export type { User };

export interface UserServiceParts {
  db: Database;
  passwords: Passwords;
  rowLimit: RowLimit;
  /** Ends access tokens: see Revocations. */
  revocations: {
    revoke(session: WriteSession, userId: string, version: number): Promise<void>;
    note(tenantId: string, userId: string, version: number): void;
  };
  /** Ends the refresh tokens of a user. */
  endSessions: (session: WriteSession, userId: string) => Promise<void>;
}

export function createUserService(parts: UserServiceParts): UserService {
  const { db, passwords, rowLimit, revocations, endSessions } = parts;

  async function setPassword(session: WriteSession, user: User, passwordHash: string): Promise<User> {
    await endSessions(session, user.id);
    const changed = await endTokens(session, user, revocations, { passwordHash });
    await recordEvent(session, { action: 'users.password_changed', resource: 'users', resourceId: user.id });
    return changed;
  }

  return {
    async list(scope, request) {
      const { rows, ...ends } = await db.read(scope, (session) =>
        users.page(session, request as PageRequest<User>),
      );
      return { rows: rows.map(userView), ...ends };
    },
    count: (scope, where, more) =>
      db.read(scope, (session) => countIn(session, users, where, more as CountOptions<User>)),
    get: async (scope, id, options) =>
      userView(await db.read(scope, (session) => users.require(session, id, options))),

    async create(scope, { password, ...input }) {
      requireMayManage(scope, input.role);
      await rowLimit.require(scope, 1);
      const passwordHash = await passwords.hash(password);
      return db.write(scope, async (session) => {
        const user = await users.insert(session, { ...input, passwordHash, credentialsVersion: 1 });
        await requireWithinLimit(session, users, 'users');
        return userView(user);
      });
    },

    async patch(scope, id, { password, ...changes }, versions) {
      requireMayManage(scope, changes.role);
      const passwordHash = password === undefined ? undefined : await passwords.hash(password);
      const changed = await db.write(scope, async (session) => {
        const { role } = await users.require(session, id);
        const leaves = changes.role !== undefined && changes.role !== 'owner';
        if (role === 'owner' && leaves) await requireAnotherOwner(session, id);
        // Locked, and looked at again: an admin must not change somebody who becomes an owner at this moment.
        let user = await users.require(session, id, { lock: true, versions });
        requireMayManage(scope, user.role);
        if (passwordHash !== undefined) user = await setPassword(session, user, passwordHash);
        if (changes.role === undefined || changes.role === user.role) {
          return Object.keys(changes).length === 0 ? user : users.update(session, id, changes);
        }
        const event = { action: 'users.role_changed', resource: 'users', resourceId: id };
        await recordEvent(session, { ...event, before: { role: user.role }, after: { role: changes.role } });
        return endTokens(session, user, revocations, changes);
      });
      revocations.note(scope.tenant.id, id, changed.credentialsVersion);
      return userView(changed);
    },

    async remove(scope, id, versions) {
      const { version, deletion } = await db.write(scope, async (session) => {
        const { role } = await users.require(session, id);
        if (role === 'owner') await requireAnotherOwner(session, id);
        const user = await users.require(session, id, { lock: true, versions });
        requireMayManage(scope, user.role);
        await endSessions(session, id);
        const { credentialsVersion } = await endTokens(session, user, revocations);
        return { version: credentialsVersion, deletion: await users.softDelete(session, id) };
      });
      revocations.note(scope.tenant.id, id, version);
      return deletion;
    },

    async restore(scope, id) {
      return db.write(scope, async (session) => {
        const { row, deletion } = await users.restore(session, id);
        requireMayManage(scope, row.role);
        if (deletion !== undefined) await requireWithinLimit(session, users, 'users');
        return userView(row);
      });
    },

    async changePassword(scope, { currentPassword, newPassword }) {
      const { id, kind } = scope.actor;
      const known = await db.read(scope, (session) => findUser(session, id));
      if (kind !== 'user' || known === undefined) throw notFound();
      if (!(await passwords.verify(currentPassword, known.passwordHash))) {
        throw new AppError('invalid_credentials', 'The current password is not right.');
      }
      const passwordHash = await passwords.hash(newPassword);
      const version = await db.write(scope, async (session) => {
        const user = await users.require(session, id, { lock: true });
        // Changed by somebody else meanwhile: what was verified is not the password any more.
        if (user.passwordHash !== known.passwordHash) {
          throw new AppError('invalid_credentials', 'The current password is not right.');
        }
        return (await setPassword(session, user, passwordHash)).credentialsVersion;
      });
      revocations.note(scope.tenant.id, id, version);
    },
  };
}

/** The first user of a new tenant, within the unit of work that makes the tenant. */
export async function insertOwner(
  session: WriteSession,
  { email, passwordHash }: { email: string; passwordHash: string },
): Promise<void> {
  await users.insert(session, { email, name: null, role: 'owner', passwordHash, credentialsVersion: 1 });
}

/** For logging in. */
export async function findByEmail(session: ReadSession, email: string): Promise<User | undefined> {
  return (await users.findWhere(session, { email }))[0];
}

/** For a neighbour's reference to a user. */
export function findUser(session: ReadSession, id: string): Promise<User | undefined> {
  return users.find(session, id);
}

/** Ends the access tokens of a user who has been locked, with what else changes of the user. */
export async function endTokens(
  session: WriteSession,
  { id, credentialsVersion }: User,
  revocations: UserServiceParts['revocations'],
  changes: Omit<PatchUser, 'password'> & { passwordHash?: string } = {},
): Promise<User> {
  const changed = await users.update(session, id, { ...changes, credentialsVersion: credentialsVersion + 1 });
  await revocations.revoke(session, id, changed.credentialsVersion);
  return changed;
}

/** For making tokens: until the unit of work ends nobody removes the user or changes the password. */
export async function lockUser(session: WriteSession, id: string): Promise<User | undefined> {
  return (await users.findMany(session, [id], { lock: true }))[0];
}

export function userView({
  passwordHash: _hash,
  credentialsVersion: _credentials,
  ...shown
}: User): UserView {
  return shown;
}

/** Only an owner may make, change or remove owners: an admin could otherwise become one. And a key could an admin. */
function requireMayManage({ actor }: TenantScope, role: string | undefined): void {
  if (role === 'owner' && !permits(actor, 'manage-owners', 'users')) {
    throw new AppError('forbidden', 'Only an owner may do this with an owner.');
  }
  if (role === 'admin' && !permits(actor, 'manage-admins', 'users')) {
    throw new AppError('forbidden', 'Only an owner or an admin may do this with an admin.');
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
