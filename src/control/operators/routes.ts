import { Router } from 'express';
import { route } from '../../http/route.ts';
import { parseBody } from '../../http/validate.ts';
import { loginSchema } from './schema.ts';
import type { OperatorService } from './service.ts';

export function operatorRoutes(operators: OperatorService): Router {
  const router = Router();
  route(router, '/login', {
    async post(req, res) {
      res.json(await operators.login(parseBody(loginSchema, req)));
    },
  });
  return router;
}
