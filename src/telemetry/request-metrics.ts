import type { Registry } from 'prom-client';
import type { RequestFacts } from '../http/observation.ts';
import { counters, histograms } from './cells.ts';

const boundsS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Requests of both APIs. The status is left out of the durations: it would multiply their buckets. */
export function requestMetrics(registry: Registry): (api: string, facts: RequestFacts) => void {
  const requests = counters(registry, {
    name: 'tenantry_http_requests_total',
    help: 'Requests by the pattern of their route; status 499 when the client left before the answer.',
    labelNames: ['api', 'route', 'method', 'status'],
  });
  const durations = histograms(registry, boundsS, {
    name: 'tenantry_http_request_seconds',
    help: 'Duration of requests, from their headers to the last byte of the answer.',
    labelNames: ['api', 'route', 'method'],
  });
  return (api, { route, method, status, ms }) => {
    requests.cell(api, route, method, String(status)).n += 1;
    durations.cell(api, route, method).add(ms);
  };
}
