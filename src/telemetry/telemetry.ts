import type { Logger } from 'pino';
import { collectDefaultMetrics, Registry } from 'prom-client';
import type { Clock } from '../clock.ts';
import type { DatabaseObserver, NodeFigures } from '../db/index.ts';
import type { Exposition } from '../http/metrics.ts';
import type { RequestObserver } from '../http/observation.ts';
import { databaseMetrics } from './database-metrics.ts';
import { type FleetFigures, fleetMetrics } from './fleet-metrics.ts';
import { nodeMetrics } from './node-metrics.ts';
import { requestMetrics } from './request-metrics.ts';
import { statementObserver } from './statements.ts';
import { createTracing } from './tracing.ts';
import { warmMetrics } from './warm-metrics.ts';

/** What can be seen of a process: figures for Prometheus, spans for OpenTelemetry, lines for what was slow. */
export interface Telemetry {
  database: DatabaseObserver;
  /** @param api `tenant` or `admin` */
  requests(api: string): RequestObserver;
  /** From now on the figures of these nodes are shown. */
  watch(nodes: () => readonly NodeFigures[]): void;
  /** From now on the figures of the fleet's migrations are shown. Asked once for every exposition, at most every few seconds. */
  watchFleet(read: () => Promise<FleetFigures>): void;
  /** From now on it is shown how many schemas wait for a tenant; undefined when that is not known. */
  watchWarm(ready: () => number | undefined): void;
  expose(): Promise<Exposition>;
}

export interface TelemetryOptions {
  /** Statements that take this long or longer are logged; 0 for none. */
  slowStatementMs: number;
  clock: Clock;
  logger: Logger;
}

/** What is asked of the database for it is not asked more often, however many ask. */
const fleetAgeMs = 2000;

export function createTelemetry({ slowStatementMs, clock, logger }: TelemetryOptions): Telemetry {
  const registry = new Registry();
  const countRequest = requestMetrics(registry);
  const tracing = createTracing(clock);
  let watched: () => readonly NodeFigures[] = () => [];
  let ofProcess = false;
  nodeMetrics(registry, () => watched());
  let fleet: { read: () => Promise<FleetFigures>; atMs: number; figures: Promise<FleetFigures> } | undefined;
  fleetMetrics(registry, async () => {
    if (fleet === undefined) return undefined;
    if (clock.monotonicMs() - fleet.atMs > fleetAgeMs) {
      fleet = { ...fleet, atMs: clock.monotonicMs(), figures: fleet.read() };
    }
    return fleet.figures;
  });

  return {
    database: {
      ...databaseMetrics(registry),
      ...statementObserver({ slowStatementMs, clock, logger }, tracing),
    },
    requests: (api) => ({
      ended: (facts) => countRequest(api, facts),
      ...(tracing === undefined ? {} : { trace: tracing.request }),
    }),
    watch(nodes) {
      watched = nodes;
    },
    watchFleet(read) {
      fleet = { read, atMs: -Infinity, figures: new Promise(() => undefined) };
    },
    watchWarm: (ready) => warmMetrics(registry, ready),
    async expose() {
      // They watch the event loop and the garbage collector: not where nobody asks.
      if (!ofProcess) collectDefaultMetrics({ register: registry });
      ofProcess = true;
      return { contentType: registry.contentType, text: await registry.metrics() };
    },
  };
}
