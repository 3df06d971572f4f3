import { Router } from 'express';
import type { NodeView } from '../db/index.ts';
import { route } from './route.ts';

export interface Health {
  /** The process is on its way out: new work should go elsewhere. */
  draining(): boolean;
  /** Rejects when the primary does not answer. */
  ping(): Promise<void>;
  nodes(): readonly NodeView[];
}

/**
 * `/livez` does no I/O: a database that is away is no reason to restart us. `/readyz` wants the primary and no
 * draining; a lost replica degrades the service and does not take it out.
 */
export function healthRoutes(health: Health): Router {
  const router = Router();
  route(router, '/livez', {
    get: (_req, res) => {
      res.json({ status: 'ok' });
    },
  });
  route(router, '/readyz', {
    get: async (_req, res) => {
      const nodes = Object.fromEntries(health.nodes().map(({ name, state }) => [name, state]));
      if (health.draining()) {
        res.status(503).json({ status: 'draining', nodes });
        return;
      }
      try {
        await health.ping();
      } catch {
        res.status(503).json({ status: 'unavailable', nodes: { ...nodes, primary: 'down' } });
        return;
      }
      const degraded = health.nodes().some((node) => node.state !== 'fresh');
      res.json({ status: degraded ? 'degraded' : 'ok', nodes });
    },
  });
  return router;
}
