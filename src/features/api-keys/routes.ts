import { type Request, Router } from 'express';
import { authorize, requireMay } from '../../http/authorize.ts';
import { requireScope } from '../../http/context.ts';
import type { Lists } from '../../http/list.ts';
import { route } from '../../http/route.ts';
import { parseBody, parseId } from '../../http/validate.ts';
import { apiKeyList, type ApiKeyView, createApiKeySchema, patchApiKeySchema } from './schema.ts';
import type { ApiKeyService } from './service.ts';

/** The usual routes but for restore: what has been revoked stays so. */
export function apiKeyRoutes(keys: ApiKeyService, lists: Lists): Router {
  const router = Router();
  const mayManage = authorize('manage-keys', 'api-keys');
  const managingScope = (req: Request) => {
    const scope = requireScope(req);
    requireMay(scope.actor, 'manage-keys', 'api-keys');
    return scope;
  };

  route(router, '/', {
    async get(req, res) {
      const scope = managingScope(req);
      await lists.serve<ApiKeyView>(req, res, apiKeyList, {
        page: (request) => keys.list(scope, request),
        count: (where) => keys.count(scope, where),
      });
    },
    post: [
      mayManage,
      async (req, res) => {
        const created = await keys.create(requireScope(req), parseBody(createApiKeySchema, req));
        res.status(201).location(`${req.baseUrl}/${created.id}`).json(created);
      },
    ],
  });

  route(router, '/:id', {
    async get(req, res) {
      res.json(await keys.get(managingScope(req), parseId(req)));
    },
    patch: [
      mayManage,
      async (req, res) => {
        const id = parseId(req);
        res.json(await keys.patch(requireScope(req), id, parseBody(patchApiKeySchema, req)));
      },
    ],
    delete: [
      mayManage,
      async (req, res) => {
        await keys.remove(requireScope(req), parseId(req));
        res.status(204).end();
      },
    ],
  });

  return router;
}
