import { type Request, type Response, Router } from 'express';
import { tenantOfRefreshToken } from '../../auth/refresh-tokens.ts';
import { sessionScope } from '../../http/consistency.ts';
import { requireScope } from '../../http/context.ts';
import { type FindTenant, requireClaimed, tenantOfHeader } from '../../http/resolve-tenant.ts';
import { AppError } from '../../errors.ts';
import { route } from '../../http/route.ts';
import { parseBody } from '../../http/validate.ts';
import { loginSchema, refreshSchema } from './schema.ts';
import type { SessionService } from './service.ts';

/** What a client can ask before it has an access token. */
export function authRoutes(sessions: SessionService, findTenant: FindTenant): Router {
  const router = Router();

  route(router, '/login', {
    post: [
      tenantOfHeader(findTenant),
      async (req, res) => {
        const input = parseBody(loginSchema, req);
        res.json(await sessions.login(sessionScope(req.context, req.context.tenant, res), input));
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
      const { refreshToken } = parseBody(refreshSchema, req);
      await sessions.logout(await scopeOfToken(req, res, refreshToken), refreshToken);
      res.status(204).end();
    },
  });

  async function scopeOfToken(req: Request, res: Response, refreshToken: string) {
    const id = tenantOfRefreshToken(refreshToken);
    const entry = id === undefined ? undefined : await findTenant(id);
    if (entry === undefined) {
      throw new AppError('invalid_credentials', 'The refresh token is not valid any more.');
    }
    req.context.tenant = requireClaimed(req, entry);
    return sessionScope(req.context, req.context.tenant, res);
  }

  return router;
}

export function meRoutes(sessions: SessionService): Router {
  const router = Router();
  route(router, '/', {
    async get(req, res) {
      res.json(await sessions.me(requireScope(req)));
    },
  });
  return router;
}
