import { type Request, type Response, Router } from 'express';
import { z } from 'zod';
import type { ListRules, Lists } from '../../http/list.ts';
import { authorOf } from '../../http/origin.ts';
import { route } from '../../http/route.ts';
import { parseBody, parseId, refuseBody } from '../../http/validate.ts';
import { followRun } from './following.ts';
import { runStatuses } from './runs.ts';
import { startRunSchema } from './schema.ts';
import type { FleetService, RunFilter } from './service.ts';

const rules: ListRules = {
  sortable: ['createdAt'],
  filterable: { status: z.enum(runStatuses) },
};

/** What the operator may ask of a run. */
const asks = { pause: 'pause', resume: 'run', cancel: 'cancel' } as const;

/** @param draining once it says so, who follows a run is to ask another process */
export function migrationRoutes(fleet: FleetService, lists: Lists, draining: () => boolean): Router {
  const router = Router();

  route(router, '/', {
    async get(_req, res) {
      res.json(await fleet.status());
    },
    async post(req: Request, res: Response) {
      const choices = req.body === undefined ? {} : parseBody(startRunSchema, req);
      const run = await fleet.start(choices, authorOf(req));
      res.status(202).location(`${req.baseUrl}/runs/${run.id}`).json(run);
    },
  });

  route(router, '/runs', {
    async get(req, res) {
      await lists.serve<RunFilter>(req, res, rules, {
        page: (request) => fleet.list(request),
        count: (where) => fleet.count(where),
      });
    },
  });

  route(router, '/runs/:id', {
    async get(req, res) {
      res.json(await fleet.get(parseId(req)));
    },
  });

  for (const [name, wanted] of Object.entries(asks)) {
    route(router, `/runs/:id/${name}`, {
      async post(req, res) {
        refuseBody(req);
        res.status(202).json(await fleet.ask(wanted, authorOf(req), parseId(req)));
      },
    });
  }

  route(router, '/runs/:id/events', {
    async get(req, res) {
      await followRun(fleet, parseId(req), req, res, draining);
    },
  });

  return router;
}
