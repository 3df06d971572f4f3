import cors from 'cors';
import express, { type Express, type Request, type RequestHandler, type Router } from 'express';
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import { bodies, patchTypesSetting } from './body.ts';
import { deadline } from './ending.ts';
import { type Health, healthRoutes } from './health.ts';
import { requestLine, requestLog } from './logging.ts';
import { type Exposition, metricsRoutes } from './metrics.ts';
import { observing, type RequestObserver } from './observation.ts';
import { problems, unknownRoute } from './problem.ts';
import { requestId } from './request-id.ts';
import { inOrder, type Step } from './steps.ts';
import { protectiveHeaders } from './protective-headers.ts';
import { serverTiming } from './timing.ts';

/** An Express application: the list below is the way of a request. */
export interface AppParts {
  clock: Clock;
  logger: Logger;
  health: Health;
  observer: RequestObserver;
  /** `GET /metrics`, without authentication; for a port that is private. */
  metrics?: () => Promise<Exposition>;
  /** Addresses or networks whose X-Forwarded-* headers count. */
  trustProxy: readonly string[];
  /** Origins of browsers that may call. */
  corsOrigins: readonly string[];
  /** Larger bodies are refused with 413. */
  bodyLimitBytes: number;
  /** Media types of bodies that PATCH takes. */
  patchTypes: readonly string[];
  /** What is not answered within this is given up. Undefined: nothing is. */
  deadlineMs: number | undefined;
  /** In order: path, what stands before the routes, the routes. */
  routes: readonly Mount[];
}

export interface Mount {
  path: string;
  before: readonly Step[];
  router: Router;
}

export function createApp(parts: AppParts): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  serverTiming(app, parts.clock);
  requestLog(app, parts.logger);
  app.set('trust proxy', [...parts.trustProxy]);
  app.set(patchTypesSetting, parts.patchTypes.join(', '));
  const onArrival = [
    requestId(parts.clock),
    ...(parts.deadlineMs === undefined ? [] : [deadline(parts.deadlineMs)]),
    whileDraining(parts.health),
    protectiveHeaders(),
  ];
  const observed = observing({
    observer: parts.observer,
    line: requestLine(parts.logger),
    mounts: parts.routes.map(({ path }) => path),
    clock: parts.clock,
  });
  app.use(inOrder(onArrival, observed));
  if (parts.corsOrigins.length > 0) app.use(crossOrigin(parts.corsOrigins));
  app.use(bodies({ limitBytes: parts.bodyLimitBytes, patchTypes: parts.patchTypes }));
  for (const { path, before, router } of parts.routes) app.use(path, inOrder(before, router));
  // Last: a router that does not take a request costs it a turn of the event loop.
  app.use(healthRoutes(parts.health));
  if (parts.metrics !== undefined) app.use(metricsRoutes(parts.metrics));
  app.use(unknownRoute);
  app.use(problems);
  return app;
}

/** For browsers, from the origins listed and no other. Tokens travel in a header, so no credentials mode. */
function crossOrigin(origins: readonly string[]): RequestHandler {
  const answer: RequestHandler = cors({
    origin: [...origins],
    methods: ['GET', 'POST', 'PATCH', 'DELETE'],
    allowedHeaders: [
      ...['Authorization', 'Consistency-Token', 'Content-Type', 'Idempotency-Key', 'If-Match'],
      ...['If-None-Match', 'Read-Consistency', 'X-Request-Id', 'X-Tenant-ID'],
    ],
    exposedHeaders: [
      ...['Accept-Patch', 'Allow', 'Consistency-Token', 'Deletion-Id', 'ETag', 'Idempotency-Replayed'],
      ...['Link', 'Location', 'RateLimit', 'RateLimit-Policy', 'Retry-After', 'Served-By'],
      ...['Server-Timing', 'X-Request-Id'],
    ],
    maxAge: 600,
  });
  // cors takes every OPTIONS for a browser's; one that is not asks which methods there are, and the route knows.
  const isPreflight = (req: Request) => req.headers['access-control-request-method'] !== undefined;
  return (req, res, next) => {
    if (req.method !== 'OPTIONS' || isPreflight(req)) {
      answer(req, res, next);
      return;
    }
    res.vary('Origin');
    next();
  };
}

/** Clients that keep connections open are asked to take their next request elsewhere. */
function whileDraining(health: Health): Step {
  return (_req, res) => {
    if (health.draining()) res.setHeader('Connection', 'close');
  };
}
