import { v7 as uuidv7 } from 'uuid';
import type { Passwords } from '../../auth/passwords.ts';
import { hashRefreshToken, newRefreshToken } from '../../auth/refresh-tokens.ts';
import type { Tokens } from '../../auth/tokens.ts';
import { type Clock, isoTime } from '../../clock.ts';
import type { Database, TenantScope, WriteSession } from '../../db/index.ts';
import { AppError, notFound } from '../../errors.ts';
import { findByEmail, findUser, type User, userView } from '../users/service.ts';
import type { UserView } from '../users/schema.ts';
import { refreshTokens } from './repository.ts';
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
   * whole family ends.
   *
   * @throws AppError invalid_credentials
   */
  refresh(scope: TenantScope, refreshToken: string): Promise<TokenView>;
  /** Ends the family of a refresh token; one that is not known is taken for ended. */
  logout(scope: TenantScope, refreshToken: string): Promise<void>;
  /** The user who asks. @throws AppError not_found when the user has been removed since the token was made */
  me(scope: TenantScope): Promise<UserView>;
}

export interface SessionServiceParts {
  db: Database;
  passwords: Passwords;
  tokens: Tokens;
  /** Seconds. */
  refreshTtlS: number;
  clock: Clock;
}

export function createSessionService(parts: SessionServiceParts): SessionService {
  const { db, passwords, tokens, refreshTtlS, clock } = parts;

  async function issue(session: WriteSession, user: User, familyId: string): Promise<TokenView> {
    const tenantId = session.tenant?.id ?? '';
    const { token, hash } = newRefreshToken(tenantId);
    await refreshTokens.insert(session, {
      userId: user.id,
      familyId,
      tokenHash: hash,
      expiresAt: isoTime(clock.nowMs() + refreshTtlS * 1000),
      usedAt: null,
    });
    return {
      accessToken: tokens.signUser({ userId: user.id, tenantId, role: user.role }),
      refreshToken: token,
      tokenType: 'Bearer',
      expiresIn: tokens.expiresInS,
    };
  }

  async function endFamily(session: WriteSession, familyId: string): Promise<void> {
    await refreshTokens.softDeleteWhere(session, { familyId }, { deletionId: uuidv7() });
  }

  return {
    async login(scope, { email, password }) {
      const user = await db.read(scope, (session) => findByEmail(session, email));
      const matches = await passwords.verify(password, user?.passwordHash);
      if (!matches || user === undefined) throw badCredentials();
      return db.write(scope, (session) => issue(session, user, uuidv7()));
    },

    async refresh(scope, refreshToken) {
      // The end of a family must be kept although the request is refused, so the refusal comes after the commit.
      const view = await db.write(scope, async (session) => {
        const tokenHash = hashRefreshToken(refreshToken);
        const [found] = await refreshTokens.findWhere(session, { tokenHash });
        if (found === undefined) return undefined;
        // Gone by now when another use of the token has just ended the family.
        const [row] = await refreshTokens.findMany(session, [found.id], { lock: true });
        if (row === undefined) return undefined;
        if (row.usedAt !== null) {
          await endFamily(session, row.familyId);
          return undefined;
        }
        if (Date.parse(row.expiresAt) <= clock.nowMs()) return undefined;
        await refreshTokens.update(session, row.id, { usedAt: isoTime(clock.nowMs()) });
        // Asked anew: the role may have changed since, and the user may be gone.
        const user = await findUser(session, row.userId);
        return user && issue(session, user, row.familyId);
      });
      if (view === undefined) throw badToken();
      return view;
    },

    async logout(scope, refreshToken) {
      await db.write(scope, async (session) => {
        const [row] = await refreshTokens.findWhere(session, { tokenHash: hashRefreshToken(refreshToken) });
        if (row !== undefined) await endFamily(session, row.familyId);
      });
    },

    async me(scope) {
      const user = await db.read(scope, (session) => findUser(session, scope.actor.id));
      if (user === undefined) throw notFound();
      return userView(user);
    },
  };
}

function badCredentials(): AppError {
  return new AppError('invalid_credentials', 'The tenant, the e-mail address or the password is not right.');
}

function badToken(): AppError {
  return new AppError('invalid_credentials', 'The refresh token is not valid any more.');
}
