import { type Request, Router } from 'express';
import { isUuid, slugPattern } from '../../db/index.ts';
import { notFound } from '../../errors.ts';
import type { ListRules, Lists } from '../../http/list.ts';
import { route } from '../../http/route.ts';
import { parseBody } from '../../http/validate.ts';
import { createTenantSchema, type TenantView } from './schema.ts';
import type { TenantService } from './service.ts';

const rules: ListRules = { sortable: ['createdAt'] };

export function tenantRoutes(tenants: TenantService, lists: Lists): Router {
  const router = Router();

  route(router, '/', {
    async get(req, res) {
      const request = lists.read<TenantView>(req, rules);
      const { rows, next } = await tenants.list(request);
      const total = request.counted ? await tenants.count() : undefined;
      lists.answer(req, res, request, { data: rows, next, total });
    },
    async post(req, res) {
      const tenant = await tenants.create(parseBody(createTenantSchema, req));
      res.status(201).location(`${req.baseUrl}/${tenant.id}`).json(tenant);
    },
  });

  route(router, '/:tenant', {
    async get(req, res) {
      res.json(await tenants.get(tenantName(req)));
    },
  });

  return router;
}

/** A slug or an id; what can be neither is not found. */
function tenantName(req: Request): string {
  const named = String(req.params['tenant']).toLowerCase();
  if (!isUuid(named) && !slugPattern.test(named)) throw notFound();
  return named;
}
