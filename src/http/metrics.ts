import { Router } from 'express';
import { route } from './route.ts';

/** What there is to show, in Prometheus' text format. */
export interface Exposition {
  contentType: string;
  text: string;
}

/** Wants no token, as scrapers have none: the port must be private. */
export function metricsRoutes(expose: () => Promise<Exposition>): Router {
  const router = Router();
  route(router, '/metrics', {
    get: async (_req, res) => {
      const { contentType, text } = await expose();
      res.setHeader('Content-Type', contentType);
      res.end(text);
    },
  });
  return router;
}
