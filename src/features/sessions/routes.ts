import { type Request, type Response, Router } from 'express';
import { tenantOfRefreshToken } from '../../auth/refresh-tokens.ts';
import { sessionScope } from '../../http/consistency.ts';
import type { TenantScope } from '../../db/index.ts';
import { requireScope } from '../../http/context.ts';
import type { Idempotency } from '../../http/idempotency.ts';
import type { LoginGuard } from '../../http/login-guard.ts';
import { requireClaimed, type TenantFinder, tenantOfHeader } from '../../http/resolve-tenant.ts';
import { AppError } from '../../errors.ts';
import { route } from '../../http/route.ts';
import { parseBody } from '../../http/validate.ts';
import {
  type ChangePassword,
  changePasswordSchema,
  loginSchema,
  logoutSchema,
  refreshSchema,
} from './schema.ts';
import type { SessionService } from './service.ts';

/**
 * What a client can ask before it has an access token. An `Idempotency-Key` is not looked at: tokens are not kept, not even
 * sealed, and who refreshes or logs out again at once is answered well without one.
 */
export function authRoutes(sessions: SessionService, tenants: TenantFinder, guard: LoginGuard): Router {
  const router = Router();

  route(router, '/login', {
    post: [
      tenantOfHeader(tenants.find),
      async (req, res) => {
        const input = parseBody(loginSchema, req);
        const scope = sessionScope(req.context, req.context.tenant, res);
        const tenant = req.context.tenant?.id ?? String(req.get('x-tenant-id'));
        const login = () => sessions.login(scope, input);
        res.json(await guard.attempt(req, [tenant, input.email], login));
      },
    ],
  });
  route(router, '/refresh', {
    async post(req, res) {
      const { refreshToken } = parseBody(refreshSchema, req);
      res.json(await sessions.refresh(await scopeOfToken(req, res, refreshToken), refreshToken));
    },
  });
  route(router, '/logout', {
    async post(req, res) {
      const { refreshToken, everywhere } = parseBody(logoutSchema, req);
      await sessions.logout(await scopeOfToken(req, res, refreshToken), refreshToken, everywhere);
      res.status(204).end();
    },
  });

  async function scopeOfToken(req: Request, res: Response, refreshToken: string) {
    const id = tenantOfRefreshToken(refreshToken);
    const entry = id === undefined ? undefined : await tenants.find(id);
    if (entry === undefined) {
      throw new AppError('invalid_credentials', 'The refresh token is not valid any more.');
    }
    req.context.tenant = await requireClaimed(req, entry, tenants);
    return sessionScope(req.context, req.context.tenant, res);
  }

  return router;
}

export function meRoutes(
  sessions: SessionService,
  changePassword: (scope: TenantScope, input: ChangePassword) => Promise<unknown>,
  idempotency: Idempotency,
): Router {
  const router = Router();
  route(router, '/', {
    async get(req, res) {
      res.json(await sessions.me(requireScope(req)));
    },
  });
  route(router, '/password', {
    async post(req, res) {
      const input = parseBody(changePasswordSchema, req);
      await idempotency.once(req, res, (scope) => changePassword(scope, input));
      res.status(204).end();
    },
  });
  return router;
}
