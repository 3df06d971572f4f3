import { Router } from 'express';
import { z } from 'zod';
import type { ListRules, Lists } from '../../http/list.ts';
import { authorOf } from '../../http/origin.ts';
import { route } from '../../http/route.ts';
import { parseId, refuseBody } from '../../http/validate.ts';
import { jobStatuses } from './job.ts';
import type { JobFilter } from './repository.ts';
import type { JobService } from './service.ts';

const rules: ListRules = {
  sortable: ['createdAt'],
  filterable: { status: z.enum(jobStatuses), kind: z.string().max(100), tenant: z.guid() },
};

export function jobRoutes(jobs: JobService, lists: Lists): Router {
  const router = Router();

  route(router, '/', {
    async get(req, res) {
      await lists.serve<JobFilter>(req, res, rules, {
        page: (request) => jobs.list(request),
        count: (where) => jobs.count(where),
      });
    },
  });

  route(router, '/:id', {
    async get(req, res) {
      res.json(await jobs.get(parseId(req)));
    },
  });

  route(router, '/:id/cancel', {
    async post(req, res) {
      refuseBody(req);
      res.status(202).json(await jobs.cancel(parseId(req), authorOf(req)));
    },
  });

  return router;
}
