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
      const request = lists.read<PlatformEventView & PlatformQuery>(req, platformEventList);
      const query = { ...request.where } as PlatformQuery; // the schema allows no others
      const { rows, next } = await database.read((session) => pageOfEvents(session, request, query));
      const total = request.counted
        ? await database.read((session) => countEvents(session, query))
        : undefined;
      lists.answer(req, res, request, { data: rows, next, total });
    },
  });
  return router;
}
