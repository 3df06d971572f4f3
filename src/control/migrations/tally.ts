import type { SchemaPlan } from './plan.ts';
import type { SchemaResult } from './report.ts';

/** What has come of each schema so far. */
export interface Tally {
  readonly results: SchemaResult[];
  add(result: SchemaResult): SchemaResult;
  has(schema: string): boolean;
  /** All that nothing is pending for. */
  upToDate(): void;
  /** All that are left. */
  skipAll(reason: string): { reason: string };
}

export type OnProgress = (progress: { done: number; total: number; result: SchemaResult }) => void;

export function createTally(plans: readonly SchemaPlan[], onProgress: OnProgress | undefined): Tally {
  const results: SchemaResult[] = [];
  const seen = new Set<string>();
  function add(result: SchemaResult): SchemaResult {
    results.push(result);
    seen.add(result.schema);
    onProgress?.({ done: results.length, total: Math.max(plans.length, results.length), result });
    return result;
  }
  const left = () => plans.filter(({ schema }) => !seen.has(schema));
  return {
    results,
    add,
    has: (schema) => seen.has(schema),
    upToDate() {
      for (const item of left()) if (item.pending.length === 0) add(resultOf(item, 'up-to-date', [], 0));
    },
    skipAll(reason) {
      for (const item of left()) add(resultOf(item, 'skipped', [], 0, reason));
      return { reason };
    },
  };
}

export function resultOf(
  { schema, version }: Pick<SchemaPlan, 'schema' | 'version'>,
  outcome: SchemaResult['outcome'],
  applied: string[],
  durationMs: number,
  error?: string,
): SchemaResult {
  const to = applied.at(-1) ?? version;
  const rounded = Math.round(durationMs);
  const result = { schema, outcome, from: version, to, applied, durationMs: rounded };
  return error === undefined ? result : { ...result, error };
}
