import { Router } from 'express';
import { originOf } from '../../http/origin.ts';
import { route } from '../../http/route.ts';
import type { LoginGuard } from '../../http/login-guard.ts';
import { parseBody } from '../../http/validate.ts';
import { loginSchema } from './schema.ts';
import type { OperatorService } from './service.ts';

export function operatorRoutes(operators: OperatorService, guard: LoginGuard): Router {
  const router = Router();
  route(router, '/login', {
    async post(req, res) {
      const input = parseBody(loginSchema, req);
      const from = { requestId: req.context.requestId, origin: originOf(req) };
      res.json(await guard.attempt(req, ['platform', input.email], () => operators.login(input, from)));
    },
  });
  return router;
}
