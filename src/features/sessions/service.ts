import type { KeyObject } from 'node:crypto';
import { v7 as uuidv7 } from 'uuid';
import type { Passwords } from '../../auth/passwords.ts';
import {
  hashRefreshToken,
  newRefreshToken,
  nextRefreshToken,
  type RefreshToken,
} from '../../auth/refresh-tokens.ts';
import type { Tokens } from '../../auth/tokens.ts';
import { type Clock, isoTime } from '../../clock.ts';
import {
  type Actor,
  type Database,
  recordEvent,
  type TenantScope,
  type WriteSession,
} from '../../db/index.ts';
import { AppError, notFound } from '../../errors.ts';
import {
  endTokens,
  findByEmail,
  findUser,
  lockUser,
  type User,
  type UserServiceParts,
  userView,
} from '../users/service.ts';
import type { UserView } from '../users/schema.ts';
import { type RefreshTokenRow, refreshTokens } from './repository.ts';
import type { Login, TokenView } from './schema.ts';

export interface SessionService {
  /**
   * Takes as long, and answers the same, for an unknown tenant or user as for a wrong password.
   *
   * @param scope of `nobody` when the tenant is not known
   * @throws AppError invalid_credentials
   */
  login(scope: TenantScope, input: Login): Promise<TokenView>;
  /**
   * Exchanges a refresh token for the next one. A token that has been used before was stolen from somebody, so its
   * whole family ends. But for `graceMs` the token before the present one is answered with the present one again: two
   * tabs asked at once, or an answer was lost.
   *
   * @throws AppError invalid_credentials
   */
  refresh(scope: TenantScope, refreshToken: string): Promise<TokenView>;
  /**
   * Ends the family of a refresh token; one that is not known is taken for ended.
   *
   * @param everywhere ends all families of its user and the access tokens that are out, too
   */
  logout(scope: TenantScope, refreshToken: string, everywhere: boolean): Promise<void>;
  /** The user who asks. @throws AppError not_found when the user has been removed since the token was made */
  me(scope: TenantScope): Promise<UserView>;
}

export interface SessionServiceParts {
  db: Database;
  passwords: Passwords;
  tokens: Tokens;
  revocations: UserServiceParts['revocations'];
  /** From which a token's successor is made. */
  refreshKey: KeyObject;
  /** Seconds. */
  refreshTtlS: number;
  clock: Clock;
}

const graceMs = 10_000;

export function createSessionService(parts: SessionServiceParts): SessionService {
  const { db, passwords, tokens, revocations, refreshKey, refreshTtlS, clock } = parts;

  async function keep(session: WriteSession, user: User, familyId: string, hash: string): Promise<void> {
    await refreshTokens.insert(session, {
      userId: user.id,
      familyId,
      tokenHash: hash,
      expiresAt: isoTime(clock.nowMs() + refreshTtlS * 1000),
      usedAt: null,
    });
  }

  function answer(session: WriteSession, user: User, { token }: RefreshToken): TokenView {
    const { id, role, credentialsVersion } = user;
    const tenantId = tenantOf(session);
    return {
      accessToken: tokens.signUser({ userId: id, tenantId, role, credentialsVersion }),
      refreshToken: token,
      tokenType: 'Bearer',
      expiresIn: tokens.expiresInS,
    };
  }

  async function reused(session: WriteSession, { familyId, userId }: RefreshTokenRow): Promise<undefined> {
    await endFamily(session, familyId);
    const event = { action: 'auth.refresh_reused', resource: 'users', resourceId: userId };
    await recordEvent(session, { ...event, after: { familyId } });
  }

  async function next(session: WriteSession, refreshToken: string): Promise<TokenView | undefined> {
    const [found] = await refreshTokens.findWhere(session, { tokenHash: hashRefreshToken(refreshToken) });
    if (found === undefined) return undefined;
    // Asked anew: the role may have changed since, and the user may be gone. Locked before the token, as in a change of
    // the password.
    const user = await lockUser(session, found.userId);
    // Gone by now when another use of the token has just ended the family.
    const [row] = await refreshTokens.findMany(session, [found.id], { lock: true });
    if (user === undefined || row === undefined) return undefined;
    const nowMs = clock.nowMs();
    const successor = nextRefreshToken(refreshToken, tenantOf(session), refreshKey);
    if (row.usedAt !== null) {
      if (nowMs - Date.parse(row.usedAt) > graceMs) return reused(session, row);
      const [present] = await refreshTokens.findWhere(session, { tokenHash: successor.hash });
      return present?.usedAt === null ? answer(session, user, successor) : reused(session, row);
    }
    if (Date.parse(row.expiresAt) <= nowMs) return undefined;
    await refreshTokens.update(session, row.id, { usedAt: isoTime(nowMs) });
    await keep(session, user, row.familyId, successor.hash);
    return answer(session, user, successor);
  }

  /** Undefined when the user has changed since the password was verified. */
  async function begin(session: WriteSession, verified: User): Promise<TokenView | undefined> {
    const user = await lockUser(session, verified.id);
    if (user?.passwordHash !== verified.passwordHash) return undefined;
    const first = newRefreshToken(tenantOf(session));
    await keep(session, user, uuidv7(), first.hash);
    const actor: Actor = { kind: 'user', id: user.id };
    await recordEvent(session, { action: 'auth.login', resource: 'users', resourceId: user.id }, actor);
    return answer(session, user, first);
  }

  return {
    async login(scope, { email, password }) {
      const user = await db.read(scope, (session) => findByEmail(session, email));
      const matches = await passwords.verify(password, user?.passwordHash);
      const view =
        matches && user !== undefined ? await db.write(scope, (session) => begin(session, user)) : undefined;
      if (view !== undefined) return view;
      const event = { action: 'auth.login_failed', resource: 'users', resourceId: user?.id ?? null };
      await db.writeOne(scope, (session) => recordEvent(session, { ...event, after: { email } }));
      throw badCredentials();
    },

    async refresh(scope, refreshToken) {
      // The end of a family must be kept although the request is refused, so the refusal comes after the commit.
      const view = await db.write(scope, (session) => next(session, refreshToken));
      if (view === undefined) throw badToken();
      return view;
    },

    async logout(scope, refreshToken, everywhere) {
      const ended = await db.write(scope, async (session) => {
        const [row] = await refreshTokens.findWhere(session, { tokenHash: hashRefreshToken(refreshToken) });
        const user = row && (await lockUser(session, row.userId));
        if (row === undefined || user === undefined) return undefined;
        const actor: Actor = { kind: 'user', id: user.id };
        const event = { resource: 'users', resourceId: user.id };
        if (!everywhere) {
          await endFamily(session, row.familyId);
          await recordEvent(session, { action: 'auth.logout', ...event }, actor);
          return undefined;
        }
        await endSessions(session, user.id);
        await recordEvent(session, { action: 'auth.logout_everywhere', ...event }, actor);
        return endTokens(session, user, revocations);
      });
      if (ended !== undefined) revocations.note(scope.tenant.id, ended.id, ended.credentialsVersion);
    },

    async me(scope) {
      if (scope.actor.kind !== 'user') throw new AppError('forbidden', 'Only a user is somebody here.');
      const user = await db.read(scope, (session) => findUser(session, scope.actor.id));
      if (user === undefined) throw notFound();
      return userView(user);
    },
  };
}

async function endFamily(session: WriteSession, familyId: string): Promise<void> {
  await refreshTokens.softDeleteWhere(session, { familyId }, { deletionId: uuidv7() });
}

/** Within the unit of work that removes a user or changes the password: no refresh token of the user counts any more. */
export async function endSessions(session: WriteSession, userId: string): Promise<void> {
  await refreshTokens.softDeleteWhere(session, { userId }, { deletionId: uuidv7() });
}

function tenantOf({ tenant }: WriteSession): string {
  return tenant?.id ?? '';
}

function badCredentials(): AppError {
  return new AppError('invalid_credentials', 'The tenant, the e-mail address or the password is not right.');
}

function badToken(): AppError {
  return new AppError('invalid_credentials', 'The refresh token is not valid any more.');
}
