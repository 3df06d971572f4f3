import { Router } from 'express';
import type { ControlDatabase } from '../../db/index.ts';
import type { Lists } from '../../http/list.ts';
import { route } from '../../http/route.ts';
import { countEvents, pageOfEvents } from './repository.ts';
import { platformEventList, type PlatformEventView, type PlatformQuery } from './schema.ts';

/** What operators did, and what was done to tenants as a whole. */
export function platformAuditRoutes(database: ControlDatabase, lists: Lists): Router {
  const router = Router();
  route(router, '/', {
    async get(req, res) {
      await lists.serve<PlatformEventView & PlatformQuery>(req, res, platformEventList, {
        page: (request) => database.read((session) => pageOfEvents(session, request, request.where ?? {})),
        count: (where) => database.read((session) => countEvents(session, where)),
      });
    },
  });
  return router;
}
