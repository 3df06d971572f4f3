import { Gauge, type Registry } from 'prom-client';

/** What is to be seen of the fleet's migrations. */
export interface FleetFigures {
  /** Schemas in all, those that wait for something, and those that were tried in vain. */
  schemas: number;
  pending: number;
  failures: readonly unknown[];
  /** The run that is under way. */
  run: {
    status: string;
    progress: { total: number; applied: number; failed: number; skipped: number };
  } | null;
}

/** It is asked of the database when somebody asks for it; where that cannot be asked, there are no samples. */
export function fleetMetrics(registry: Registry, read: () => Promise<FleetFigures | undefined>): void {
  function gauge(
    name: string,
    help: string,
    labelNames: string[],
    samples: (figures: FleetFigures) => (readonly [Record<string, string>, number])[],
  ): void {
    const shown = new Gauge({
      ...{ name, help, labelNames, registers: [registry] },
      async collect() {
        const figures = await read().catch(() => undefined);
        this.reset();
        for (const [labels, value] of figures === undefined ? [] : samples(figures)) shown.set(labels, value);
      },
    });
  }

  gauge('tenantry_migration_schemas', 'Schemas of the fleet by their standing.', ['standing'], (figures) => [
    [{ standing: 'current' }, figures.schemas - figures.pending],
    [{ standing: 'pending' }, figures.pending],
    [{ standing: 'failed' }, figures.failures.length],
  ]);
  gauge('tenantry_migration_run', '1 while a run of the fleet is in this status.', ['status'], ({ run }) =>
    ['queued', 'running', 'paused'].map((status) => [{ status }, run?.status === status ? 1 : 0] as const),
  );
  gauge(
    'tenantry_migration_run_schemas',
    'Schemas of the run that is under way, by what has come of them.',
    ['outcome'],
    ({ run }) => {
      if (run === null) return [];
      const { total, applied, failed, skipped } = run.progress;
      const outcomes = { applied, failed, skipped, waiting: total - applied - failed - skipped };
      return Object.entries(outcomes).map(([outcome, count]) => [{ outcome }, count] as const);
    },
  );
}
