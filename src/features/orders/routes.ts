import type { Router } from 'express';
import { authorize } from '../../http/authorize.ts';
import { type Conventions, createResourceRoutes } from '../../http/resource-routes.ts';
import { route } from '../../http/route.ts';
import { parseId, refuseBody } from '../../http/validate.ts';
import { order } from './schema.ts';
import type { OrderService } from './service.ts';

export function orderRoutes(service: OrderService, conventions: Conventions): Router {
  const { idempotency } = conventions;
  const router = createResourceRoutes({ resource: order, service, conventions });

  route(router, '/:id/cancel', {
    post: [
      authorize('write', 'orders'),
      async (req, res) => {
        refuseBody(req);
        const id = parseId(req);
        res.json(await idempotency.once(req, res, (scope) => service.cancel(scope, id)));
      },
    ],
  });

  return router;
}
