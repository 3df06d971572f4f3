import { type Request, Router } from 'express';
import { z } from 'zod';
import type { Action } from '../auth/roles.ts';
import type { Deletion, Page, Selection, TenantScope, Versions } from '../db/index.ts';
import { answerJson } from './answer.ts';
import { authorize, requireMay } from './authorize.ts';
import { requireScope } from './context.ts';
import { hasIt, representation, setEtag, versionsKnown } from './etag.ts';
import { type ListRequest, type Lists, only } from './list.ts';
import { querySchema } from './list-query.ts';
import type { Resource } from './resource.ts';
import { route } from './route.ts';
import { parseBody, parseId, parseQuery, refuseBody, refuseQuery } from './validate.ts';

/** What a feature's service offers when its resource has the usual routes. One function, one unit of work. */
export interface ResourceService<View, Create, Patch> {
  list(scope: TenantScope, request: ListRequest<View>): Promise<Page<View>>;
  count(
    scope: TenantScope,
    where?: Partial<View>,
    more?: Omit<Selection<View>, 'where'> & { estimated?: boolean },
  ): Promise<number>;
  get(scope: TenantScope, id: string, options?: Pick<Selection<View>, 'deleted'>): Promise<View>;
  create(scope: TenantScope, input: Create): Promise<View>;
  /** @param versions that the client knows; any by default. @throws AppError precondition_failed */
  patch(scope: TenantScope, id: string, changes: Patch, versions?: Versions): Promise<View>;
  /** @param versions as patch() */
  remove(scope: TenantScope, id: string, versions?: Versions): Promise<Deletion>;
  restore(scope: TenantScope, id: string): Promise<View>;
}

export interface ResourceRoutes<View, Create, Patch> {
  resource: Resource<View, Create, Patch>;
  service: ResourceService<View, Create, Patch>;
  lists: Lists;
  /** What a user must be allowed in order to change this resource. */
  writeAction: Action;
}

/** List, create, get, patch, delete and restore. A feature adds its own routes to the router it gets back. */
export function createResourceRoutes<View extends { id: string; version: number }, Create, Patch>(
  options: ResourceRoutes<View, Create, Patch>,
): Router {
  const { resource, service, lists, writeAction } = options;
  const { name } = resource;
  const router = Router();
  const mayWrite = authorize(writeAction, name);
  const fields = resource.list.fields ?? [];
  const all = representation(fields);
  const oneSchema = z.strictObject(pick(querySchema(resource.list).shape));
  const readingScope = (req: Request): TenantScope => {
    const scope = requireScope(req);
    requireMay(scope.actor, 'read', name);
    return scope;
  };
  const mayShowDeleted = (scope: TenantScope) => () => requireMay(scope.actor, 'read-deleted', name);

  route(router, '/', {
    async get(req, res) {
      const scope = readingScope(req);
      const source = {
        page: (request: ListRequest<View>) => service.list(scope, request),
        count: (where: Partial<View>, more: object) => service.count(scope, where, more),
      };
      await lists.serve<View>(req, res, resource.list, source, mayShowDeleted(scope));
    },
    post: [
      mayWrite,
      async (req, res) => {
        refuseQuery(req);
        const created = await service.create(requireScope(req), parseBody(resource.create, req));
        res.setHeader('Location', `${req.baseUrl}/${created.id}`);
        setEtag(res, created, all);
        answerJson(res, 201, created);
      },
    ],
  });

  route(router, '/:id', {
    async get(req, res) {
      const scope = readingScope(req);
      const id = parseId(req);
      const { fields: wanted, deleted } = parseQuery(oneSchema, req) as OneQuery;
      if (deleted !== undefined) mayShowDeleted(scope)();
      const row = await service.get(scope, id, deleted === undefined ? undefined : { deleted });
      setEtag(res, row, wanted === undefined ? all : representation(wanted));
      if (hasIt(req, res)) res.status(304).end();
      else answerJson(res, 200, wanted === undefined ? row : only(row, wanted));
    },
    patch: [
      mayWrite,
      async (req, res) => {
        const id = parseId(req);
        refuseQuery(req);
        const changes = parseBody(resource.patch, req);
        const changed = await service.patch(requireScope(req), id, changes, versionsKnown(req));
        setEtag(res, changed, all);
        answerJson(res, 200, changed);
      },
    ],
    delete: [
      mayWrite,
      async (req, res) => {
        const id = parseId(req);
        refuseQuery(req);
        const { deletionId } = await service.remove(requireScope(req), id, versionsKnown(req));
        res.setHeader('Deletion-Id', deletionId);
        res.status(204).end();
      },
    ],
  });

  route(router, '/:id/restore', {
    post: [
      mayWrite,
      async (req, res) => {
        refuseBody(req);
        refuseQuery(req);
        const restored = await service.restore(requireScope(req), parseId(req));
        setEtag(res, restored, all);
        answerJson(res, 200, restored);
      },
    ],
  });

  return router;
}

interface OneQuery {
  fields?: readonly string[];
  deleted?: Selection<unknown>['deleted'];
}

/** The parameters of a list that mean something for one resource, too. */
function pick(shape: Record<string, z.ZodType>): Record<string, z.ZodType> {
  return Object.fromEntries(
    ['fields', 'deleted'].flatMap((name) => (shape[name] === undefined ? [] : [[name, shape[name]]])),
  );
}
