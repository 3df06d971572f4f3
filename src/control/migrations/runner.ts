import pLimit from 'p-limit';
import type { Clock } from '../../clock.ts';
import type { ControlDatabase } from '../../db/index.ts';
import { readFleet } from './ledger.ts';
import type { Migrator } from './migrator.ts';
import { planFleet, type SchemaPlan } from './plan.ts';
import { type RunReport, reportOf, type SchemaResult } from './report.ts';

/** Moves the whole fleet: control, then shared, then every tenant's own schema. */
export interface Runner {
  plan(): Promise<SchemaPlan[]>;
  /**
   * Applies what is pending. A tenant that fails does not stop the others; control or shared failing does, because
   * everything else stands on them. A second run takes up where this one ended.
   */
  up(options?: UpOptions): Promise<RunReport>;
}

export interface UpOptions {
  /** Tenant schemas at the same time. Default 4. */
  parallel?: number;
  /** Told after every schema. */
  onProgress?: (progress: { done: number; total: number; result: SchemaResult }) => void;
  /** When it aborts, what has begun is finished and the rest is skipped. */
  signal?: AbortSignal;
}

export interface RunnerOptions {
  database: ControlDatabase;
  migrator: Migrator;
  clock: Clock;
  /** Makes the tables of the job queue, or brings them up to date; it has migrations of its own. */
  installQueue: () => Promise<void>;
}

export function createRunner({ database, migrator, clock, installQueue }: RunnerOptions): Runner {
  async function plan(): Promise<SchemaPlan[]> {
    return planFleet(await database.read(readFleet), await migrator.steps());
  }

  async function migrate(item: SchemaPlan): Promise<SchemaResult> {
    const startedMs = clock.monotonicMs();
    const result = (outcome: SchemaResult['outcome'], applied: string[]): SchemaResult => ({
      schema: item.schema,
      outcome,
      from: item.version,
      to: applied.at(-1) ?? item.version,
      applied,
      durationMs: Math.round(clock.monotonicMs() - startedMs),
    });
    if (item.pending.length === 0) return result('up-to-date', []);
    try {
      const applied = await migrator.inSchema(item.schema, async (work) => {
        await work.createSchema({ ifMissing: true });
        return work.climb();
      });
      return result('applied', applied);
    } catch (error) {
      return { ...result('failed', []), error: (error as Error).message };
    }
  }

  async function up({ parallel = 4, onProgress, signal }: UpOptions = {}): Promise<RunReport> {
    const startedMs = clock.monotonicMs();
    const plans = await plan();
    await installQueue();
    const results: SchemaResult[] = [];
    const take = async (item: SchemaPlan, skip: string | undefined) => {
      const result = skip === undefined ? await migrate(item) : skipped(item, skip);
      results.push(result);
      onProgress?.({ done: results.length, total: plans.length, result });
      return result;
    };

    const stop = (): string | undefined => (signal?.aborted ? 'the run was interrupted' : undefined);
    let broken: string | undefined;
    for (const item of plans.slice(0, 2)) {
      const { outcome } = await take(item, broken ?? stop());
      if (outcome === 'failed') broken = `${item.schema} failed`;
    }
    const limit = pLimit(parallel);
    await Promise.all(plans.slice(2).map((item) => limit(() => take(item, broken ?? stop()))));
    return reportOf(results, clock.monotonicMs() - startedMs);
  }

  return { plan, up };
}

function skipped(item: SchemaPlan, error: string): SchemaResult {
  const { schema, version } = item;
  return { schema, outcome: 'skipped', from: version, to: version, applied: [], durationMs: 0, error };
}
