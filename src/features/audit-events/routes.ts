import { type Request, Router } from 'express';
import { requireMay } from '../../http/authorize.ts';
import { requireScope } from '../../http/context.ts';
import type { Lists } from '../../http/list.ts';
import { route } from '../../http/route.ts';
import { parseId } from '../../http/validate.ts';
import { auditEventList, type AuditEventView } from './schema.ts';
import type { AuditEventService } from './service.ts';

export function auditEventRoutes(events: AuditEventService, lists: Lists): Router {
  const router = Router();
  const readingScope = (req: Request) => {
    const scope = requireScope(req);
    requireMay(scope.actor, 'read-audit', 'audit-events');
    return scope;
  };

  route(router, '/', {
    async get(req, res) {
      const scope = readingScope(req);
      const request = lists.read<AuditEventView>(req, auditEventList);
      const { rows, next } = await events.list(scope, request);
      const total = request.counted ? await events.count(scope, request.where) : undefined;
      lists.answer(req, res, request, { data: rows, next, total });
    },
  });

  route(router, '/:id', {
    async get(req, res) {
      res.json(await events.get(readingScope(req), parseId(req)));
    },
  });

  return router;
}
