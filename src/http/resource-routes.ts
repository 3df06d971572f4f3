import { type Request, type Response, Router } from 'express';
import { z } from 'zod';
import type { BulkRecords, Deletion, Page, Selection, Stamped, TenantScope, Versions } from '../db/index.ts';
import { answerJson } from './answer.ts';
import { authorize, requireMay } from './authorize.ts';
import { bulkChanges } from './bulk-change.ts';
import { createBulk } from './bulk-create.ts';
import { requireScope } from './context.ts';
import { hasIt, representation, setEtag, versionsKnown } from './etag.ts';
import { exportList, wantsExport } from './export-list.ts';
import type { Idempotency } from './idempotency.ts';
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
  /** Of resources whose rows are what clients send and see. */
  bulk?: BulkRecords<View & Stamped, Create>;
}

/** The same for reading alone. */
export type ReadingService<View> = Pick<ResourceService<View, never, never>, 'list' | 'count' | 'get'>;

export interface ResourceRoutes<View, Create, Patch> {
  resource: Resource<View, Create, Patch>;
  /** A route whose function is left out is not there. */
  service: ReadingService<View> & Partial<ResourceService<View, Create, Patch>>;
  conventions: Conventions;
}

/** What all routes of the tenant API do alike. */
export interface Conventions {
  lists: Lists;
  idempotency: Idempotency;
}

/** List, export, create, get, patch, delete and restore, and in bulk. A feature adds its own routes to the router it gets back. */
export function createResourceRoutes<View extends Shown, Create, Patch>(
  options: ResourceRoutes<View, Create, Patch>,
): Router {
  const { resource, service, conventions } = options;
  const { lists, idempotency } = conventions;
  const { name, readAction = 'read', writeAction } = resource;
  const router = Router();
  const mayWrite = writeAction === undefined ? [] : [authorize(writeAction, name)];
  const all = representation(resource.list.fields ?? []);
  const oneSchema = z.strictObject(ofOne(querySchema(resource.list).shape));
  const readingScope = (req: Request): TenantScope => {
    const scope = requireScope(req);
    requireMay(scope.actor, readAction, name);
    return scope;
  };
  /** Most ask for all of it, and there is nothing to parse. */
  const queryOf = (req: Request): OneQuery =>
    req.originalUrl.includes('?') ? parseQuery(oneSchema, req) : {};
  const mayShowDeleted = (scope: TenantScope) => () => requireMay(scope.actor, 'read-deleted', name);
  const show = (res: Response, status: number, row: View) => {
    setEtag(res, row, all);
    answerJson(res, status, row);
  };
  const { create, patch, remove, restore } = service;

  route(router, '/', {
    async get(req, res) {
      const scope = readingScope(req);
      if (wantsExport(req)) {
        const { list } = service;
        await exportList(req, res, resource.list, scope, { list, mayShowDeleted: mayShowDeleted(scope) });
        return;
      }
      const source = {
        page: (request: ListRequest<View>) => service.list(scope, request),
        count: (where: Partial<View>, more: object) => service.count(scope, where, more),
      };
      await lists.serve<View>(req, res, resource.list, source, mayShowDeleted(scope));
    },
    ...(create && {
      post: [
        ...mayWrite,
        async (req, res) => {
          refuseQuery(req);
          const input = parseBody(resource.create, req);
          const created = await idempotency.once(req, res, (scope) => create(scope, input));
          res.setHeader('Location', `${req.baseUrl}/${created.id}`);
          show(res, 201, created);
        },
      ],
    }),
  });

  if (service.bulk !== undefined) {
    const { bulk } = service;
    const changes = bulkChanges(resource.list, resource.patch, bulk);
    route(router, '/bulk', {
      post: [...mayWrite, (req, res) => createBulk(req, res, resource.create, bulk, idempotency)],
      patch: [...mayWrite, (req, res) => changes.patch(req, res)],
      delete: [...mayWrite, (req, res) => changes.remove(req, res)],
    });
  }

  route(router, '/:id', {
    async get(req, res) {
      const scope = readingScope(req);
      const id = parseId(req);
      const { fields, deleted } = queryOf(req);
      if (deleted !== undefined) mayShowDeleted(scope)();
      const row = await service.get(scope, id, deleted === undefined ? undefined : { deleted });
      setEtag(res, row, fields === undefined ? all : representation(fields));
      if (hasIt(req, res)) res.status(304).end();
      else answerJson(res, 200, fields === undefined ? row : only(row, fields));
    },
    ...(patch && {
      patch: [
        ...mayWrite,
        async (req, res) => {
          const id = parseId(req);
          refuseQuery(req);
          const changes = parseBody(resource.patch, req);
          show(res, 200, await patch(requireScope(req), id, changes, versionsKnown(req)));
        },
      ],
    }),
    ...(remove && {
      delete: [
        ...mayWrite,
        async (req, res) => {
          const id = parseId(req);
          refuseQuery(req);
          const { deletionId } = await remove(requireScope(req), id, versionsKnown(req));
          res.setHeader('Deletion-Id', deletionId);
          res.status(204).end();
        },
      ],
    }),
  });

  if (restore !== undefined) {
    route(router, '/:id/restore', {
      post: [
        ...mayWrite,
        async (req, res) => {
          refuseBody(req);
          refuseQuery(req);
          const id = parseId(req);
          show(res, 200, await idempotency.once(req, res, (scope) => restore(scope, id)));
        },
      ],
    });
  }

  return router;
}

interface Shown {
  id: string;
  version?: number;
}

interface OneQuery {
  fields?: readonly string[];
  deleted?: Selection<unknown>['deleted'];
}

/** The parameters of a list that mean something for one resource, too. */
function ofOne(shape: Record<string, z.ZodType>): Record<string, z.ZodType> {
  return Object.fromEntries(
    ['fields', 'deleted'].flatMap((name) => (shape[name] === undefined ? [] : [[name, shape[name]]])),
  );
}
