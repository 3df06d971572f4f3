import type { Router } from 'express';
import { authorize } from '../../http/authorize.ts';
import { requireScope } from '../../http/context.ts';
import type { Lists } from '../../http/list.ts';
import { createResourceRoutes } from '../../http/resource-routes.ts';
import { route } from '../../http/route.ts';
import { parseId, refuseBody } from '../../http/validate.ts';
import { order } from './schema.ts';
import type { OrderService } from './service.ts';

export function orderRoutes(service: OrderService, lists: Lists): Router {
  const router = createResourceRoutes({ resource: order, service, lists });

  route(router, '/:id/cancel', {
    post: [
      authorize('write', 'orders'),
      async (req, res) => {
        refuseBody(req);
        res.json(await service.cancel(requireScope(req), parseId(req)));
      },
    ],
  });

  return router;
}
