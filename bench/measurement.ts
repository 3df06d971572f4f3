import type { ContenderKey } from './contender.ts';
import { addRouting, type Routing } from './routing.ts';
import { type Workload, workloadKeys } from './workload.ts';

/** One contender under one workload, once. */
export interface Measurement {
  contender: ContenderKey | 'pgbench';
  workload: Workload;
  /** From 1. */
  round: number;
  requestsPerSecond: number;
  completed: number;
  p50Ms: number | undefined;
  p99Ms: number | undefined;
  /** Processor time of the server process per request, microseconds; undefined where it cannot be told. */
  cpuUs: number | undefined;
  routing: Routing | undefined;
}

/** The rounds of a contender under a workload in one line: medians, and the sum of the routing. */
export interface Summary {
  contender: Measurement['contender'];
  workload: Workload;
  requestsPerSecond: number;
  /** The slowest and the fastest round: far apart when the machine was doing something else, too. */
  slowest: number;
  fastest: number;
  /**
   * Multiple of the yardstick in the same round, the median of the rounds: a round's measurements are seconds apart, so
   * what slows the machine slows both. Undefined when the yardstick was not measured.
   */
  ratio: number | undefined;
  p50Ms: number | undefined;
  p99Ms: number | undefined;
  cpuUs: number | undefined;
  routing: Routing | undefined;
}

/** In the order of the workloads, then of first appearance. */
export function summarise(measurements: readonly Measurement[], yardstick: ContenderKey): Summary[] {
  return workloadKeys.flatMap((workload) => {
    const ofWorkload = measurements.filter((one) => one.workload === workload);
    const names = [...new Set(ofWorkload.map((one) => one.contender))];
    const unitOf = new Map(
      ofWorkload
        .filter((one) => one.contender === yardstick)
        .map((one) => [one.round, one.requestsPerSecond] as const),
    );
    return names.map((name) => {
      const rounds = ofWorkload.filter((one) => one.contender === name);
      const speeds = rounds.map((one) => one.requestsPerSecond);
      const routings = rounds.flatMap((one) => one.routing ?? []);
      const [firstRouting, ...otherRoutings] = routings;
      return {
        contender: name,
        workload,
        requestsPerSecond: median(speeds) ?? 0,
        slowest: Math.min(...speeds),
        fastest: Math.max(...speeds),
        ratio: median(
          rounds.map(({ round, requestsPerSecond }) => {
            const unit = unitOf.get(round);
            return unit && requestsPerSecond / unit;
          }),
        ),
        p50Ms: median(rounds.map((one) => one.p50Ms)),
        p99Ms: median(rounds.map((one) => one.p99Ms)),
        cpuUs: median(rounds.map((one) => one.cpuUs)),
        routing: firstRouting && otherRoutings.reduce(addRouting, firstRouting),
      };
    });
  });
}

export function median(figures: readonly (number | undefined)[]): number | undefined {
  const sorted = figures.filter((figure) => figure !== undefined).toSorted((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return low === undefined || high === undefined ? undefined : (low + high) / 2;
}
