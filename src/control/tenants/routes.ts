import type { KeyObject } from 'node:crypto';
import { type Request, Router } from 'express';
import { isUuid, slugPattern } from '../../db/index.ts';
import { notFound } from '../../errors.ts';
import type { ListRules, Lists } from '../../http/list.ts';
import { authorOf } from '../../http/origin.ts';
import { route } from '../../http/route.ts';
import { parseBody, refuseBody } from '../../http/validate.ts';
import { idempotentRequest } from '../idempotency.ts';
import { type ActingService, actSchema } from './acting.ts';
import type { Exporter } from './export.ts';
import type { ExportService } from './export-job.ts';
import type { MoveService } from './move/service.ts';
import type { PurgeService } from './purge/service.ts';
import {
  createTenantSchema,
  moveTenantSchema,
  patchTenantSchema,
  purgeTenantSchema,
  type TenantView,
} from './schema.ts';
import type { TenantService } from './service.ts';

const rules: ListRules = { sortable: ['createdAt'] };

export interface TenantRoutesParts {
  tenants: TenantService;
  purges: PurgeService;
  moves: MoveService;
  acting: ActingService;
  exporter: Exporter;
  exports: ExportService;
  lists: Lists;
  /** For digests of bodies. */
  idempotencyKey: KeyObject;
}

export function tenantRoutes(parts: TenantRoutesParts): Router {
  const { tenants, purges, moves, acting, exporter, exports, lists, idempotencyKey } = parts;
  const router = Router();

  route(router, '/', {
    async get(req, res) {
      await lists.serve<TenantView>(req, res, rules, {
        page: (request) => tenants.list(request),
        count: () => tenants.count(),
      });
    },
    async post(req, res) {
      const input = parseBody(createTenantSchema, req);
      const request = idempotentRequest(req, idempotencyKey);
      const author = authorOf(req);
      const { tenant, again } =
        request === undefined
          ? { tenant: await tenants.create(input, author), again: false }
          : await tenants.createOnce(input, request, author);
      if (again) res.setHeader('Idempotency-Replayed', 'true');
      res.status(201).location(`${req.baseUrl}/${tenant.id}`).json(tenant);
    },
  });

  route(router, '/:tenant', {
    async get(req, res) {
      res.json(await tenants.get(tenantName(req)));
    },
    async patch(req, res) {
      res.json(await tenants.patch(tenantName(req), parseBody(patchTenantSchema, req), authorOf(req)));
    },
    async delete(req, res) {
      await tenants.change(tenantName(req), 'delete', authorOf(req));
      res.status(204).end();
    },
  });

  for (const action of ['suspend', 'resume', 'restore'] as const) {
    route(router, `/:tenant/${action}`, {
      async post(req, res) {
        refuseBody(req);
        res.json(await tenants.change(tenantName(req), action, authorOf(req)));
      },
    });
  }

  route(router, '/:tenant/purge', {
    async post(req, res) {
      const input = parseBody(purgeTenantSchema, req);
      if (input.dryRun) {
        res.json(await purges.estimate(tenantName(req)));
        return;
      }
      const job = await purges.request(tenantName(req), input, authorOf(req));
      res.status(202).location(`/admin/v1/jobs/${job.id}`).json(job);
    },
  });

  route(router, '/:tenant/move', {
    async post(req, res) {
      const job = await moves.request(tenantName(req), parseBody(moveTenantSchema, req), authorOf(req));
      res.status(202).location(`/admin/v1/jobs/${job.id}`).json(job);
    },
  });

  route(router, '/:tenant/move/confirm', {
    async post(req, res) {
      refuseBody(req);
      const job = await moves.confirm(tenantName(req), authorOf(req));
      res.status(202).location(`/admin/v1/jobs/${job.id}`).json(job);
    },
  });

  route(router, '/:tenant/act', {
    async post(req, res) {
      const { reason } = parseBody(actSchema, req);
      res.json(await acting.act(tenantName(req), reason, authorOf(req)));
    },
  });

  route(router, '/:tenant/exports', {
    async post(req, res) {
      refuseBody(req);
      const job = await exports.request(tenantName(req), authorOf(req));
      res.status(202).location(`/admin/v1/jobs/${job.id}`).json(job);
    },
  });

  route(router, '/:tenant/export', {
    async post(req, res) {
      refuseBody(req);
      // Not bound to REQUEST_DEADLINE_MS: a download lasts as long as its taker does, who may stop taking it.
      await exporter.exportTenant(tenantName(req), {
        author: authorOf(req),
        sink: res,
        onStart: ({ tenant }) => res.attachment(`${tenant.slug}.ndjson`).type('application/x-ndjson'),
      });
      res.end();
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
