import type { SchemaPlan } from './plan.ts';

/** What came of a run, as values. */
export interface SchemaResult {
  schema: string;
  outcome: 'applied' | 'up-to-date' | 'failed' | 'skipped';
  from: string | undefined;
  to: string | undefined;
  applied: string[];
  durationMs: number;
  /** Why it failed or was skipped. */
  error?: string;
}

export interface RunReport {
  /** Undefined when there was nothing to do, or it could not begin. */
  run: string | undefined;
  status: 'succeeded' | 'failed' | 'halted' | 'cancelled' | 'interrupted';
  /** Why it did not come to its end. */
  reason: string | undefined;
  results: SchemaResult[];
  counts: Record<SchemaResult['outcome'], number>;
  durationMs: number;
}

export function reportOf(
  results: SchemaResult[],
  durationMs: number,
  ending: Pick<RunReport, 'run' | 'reason'> & {
    stopped?: 'halted' | 'cancelled' | 'interrupted' | undefined;
  },
): RunReport {
  const counts = countsOf(results);
  const { run, reason, stopped } = ending;
  const status = stopped ?? (counts.failed > 0 ? 'failed' : 'succeeded');
  return { run, status, reason, results, counts, durationMs: Math.round(durationMs) };
}

export function countsOf(results: readonly SchemaResult[]): RunReport['counts'] {
  const counts = { applied: 0, 'up-to-date': 0, failed: 0, skipped: 0 };
  for (const { outcome } of results) counts[outcome] += 1;
  return counts;
}

/** The fleet by version, for people: how many schemas are where, and which are behind. */
export interface FleetStatus {
  versions: { ladder: string; version: string; schemas: number }[];
  /** Schemas with something to apply, or ahead of this build. */
  outliers: { schema: string; version: string | null; pending: string[]; unknown: string[] }[];
  schemas: number;
  pending: number;
}

export function statusOf(plans: readonly SchemaPlan[]): FleetStatus {
  const counted = new Map<string, { ladder: string; version: string; schemas: number }>();
  for (const { ladder, version = 'none' } of plans) {
    const key = `${ladder}/${version}`;
    const entry = counted.get(key) ?? { ladder, version, schemas: 0 };
    entry.schemas += 1;
    counted.set(key, entry);
  }
  const behind = plans.filter((plan) => plan.pending.length > 0);
  return {
    versions: [...counted.values()].toSorted((a, b) =>
      `${a.ladder}/${a.version}`.localeCompare(`${b.ladder}/${b.version}`),
    ),
    outliers: plans
      .filter((plan) => plan.pending.length > 0 || plan.unknown.length > 0)
      .map(({ schema, version, pending, unknown }) => ({
        schema,
        version: version ?? null,
        pending,
        unknown,
      })),
    schemas: plans.length,
    pending: behind.length,
  };
}
