import { Router } from 'express';
import type { NodeFigures } from '../../db/index.ts';
import { route } from '../../http/route.ts';

/** The servers as this process sees them. */
export function clusterRoutes(nodes: () => readonly NodeFigures[]): Router {
  const router = Router();
  route(router, '/', {
    get: (_req, res) => {
      res.json({ nodes: nodes().map(nodeView) });
    },
  });
  return router;
}

function nodeView({ name, role, state, lagMs, lagBytes, position, timeline, pool, admission }: NodeFigures) {
  return {
    name,
    role,
    state,
    lagMs: lagMs ?? null,
    lagBytes: lagBytes ?? null,
    lsn: position ?? null,
    timeline: timeline ?? null,
    pool,
    admission,
  };
}
