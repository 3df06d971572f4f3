import { Router } from 'express';
import { route } from '../../http/route.ts';
import { statusOf } from './report.ts';
import type { Runner } from './runner.ts';

export function migrationRoutes(runner: Runner): Router {
  const router = Router();
  route(router, '/', {
    async get(_req, res) {
      res.json(statusOf(await runner.plan()));
    },
  });
  return router;
}
