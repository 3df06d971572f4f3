import { type Request, Router } from 'express';
import type { z } from 'zod';
import type { Action, KeyResource } from '../auth/roles.ts';
import type { Page, TenantScope } from '../db/index.ts';
import { answerJson } from './answer.ts';
import { authorize, requireMay } from './authorize.ts';
import { requireScope } from './context.ts';
import type { ListRequest, ListRules, Lists } from './list.ts';
import { route } from './route.ts';
import { parseBody, parseId, refuseBody } from './validate.ts';

/** What a feature's service offers when its resource has the usual six routes. One function, one unit of work. */
export interface ResourceService<View, Create, Patch> {
  list(scope: TenantScope, request: ListRequest<View>): Promise<Page<View>>;
  count(scope: TenantScope, where?: Partial<View>): Promise<number>;
  get(scope: TenantScope, id: string): Promise<View>;
  create(scope: TenantScope, input: Create): Promise<View>;
  patch(scope: TenantScope, id: string, changes: Patch): Promise<View>;
  remove(scope: TenantScope, id: string): Promise<void>;
  restore(scope: TenantScope, id: string): Promise<View>;
}

export interface ResourceOptions<View, Create, Patch> {
  service: ResourceService<View, Create, Patch>;
  createSchema: z.ZodType<Create>;
  patchSchema: z.ZodType<Patch>;
  listRules: ListRules;
  lists: Lists;
  /** Its name in the table of roles and in the scopes of keys. */
  resource: KeyResource;
  /** What a user must be allowed in order to change this resource. */
  writeAction: Action;
}

/** List, create, get, patch, delete and restore. A feature adds its own routes to the router it gets back. */
export function resourceRoutes<View extends { id: string }, Create, Patch>(
  options: ResourceOptions<View, Create, Patch>,
): Router {
  const { service, createSchema, patchSchema, listRules, lists, resource, writeAction } = options;
  const router = Router();
  const mayWrite = authorize(writeAction, resource);
  const readingScope = (req: Request): TenantScope => {
    const scope = requireScope(req);
    requireMay(scope.actor, 'read', resource);
    return scope;
  };

  route(router, '/', {
    async get(req, res) {
      const scope = readingScope(req);
      await lists.serve<View>(req, res, listRules, {
        page: (request) => service.list(scope, request),
        count: (where) => service.count(scope, where),
      });
    },
    post: [
      mayWrite,
      async (req, res) => {
        const created = await service.create(requireScope(req), parseBody(createSchema, req));
        res.setHeader('Location', `${req.baseUrl}/${created.id}`);
        answerJson(res, 201, created);
      },
    ],
  });

  route(router, '/:id', {
    async get(req, res) {
      answerJson(res, 200, await service.get(readingScope(req), parseId(req)));
    },
    patch: [
      mayWrite,
      async (req, res) => {
        const id = parseId(req);
        answerJson(res, 200, await service.patch(requireScope(req), id, parseBody(patchSchema, req)));
      },
    ],
    delete: [
      mayWrite,
      async (req, res) => {
        await service.remove(requireScope(req), parseId(req));
        res.status(204).end();
      },
    ],
  });

  route(router, '/:id/restore', {
    post: [
      mayWrite,
      async (req, res) => {
        refuseBody(req);
        answerJson(res, 200, await service.restore(requireScope(req), parseId(req)));
      },
    ],
  });

  return router;
}
