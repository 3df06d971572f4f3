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
      await lists.serve<AuditEventView>(req, res, auditEventList, {
        page: (request) => events.list(scope, request),
        count: (where) => events.count(scope, where),
      });
    },
  });

  route(router, '/:id', {
    async get(req, res) {
      res.json(await events.get(readingScope(req), parseId(req)));
    },
  });

  return router;
}
