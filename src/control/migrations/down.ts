import type { ControlDatabase } from '../../db/index.ts';
import { wordsOf } from './apply.ts';
import { withBriefRun } from './brief-run.ts';
import type { LeaseParts } from './lease.ts';
import { readFleet } from './ledger.ts';
import type { Migrator } from './migrator.ts';

/** What came of taking a step back, by schema. */
export interface DownReport {
  results: { schema: string; outcome: 'taken back' | 'failed'; step: string; error?: string }[];
}

/**
 * Takes the newest step of the tenant ladder back wherever it is applied, tenants first and `shared` last, each schema
 * in a transaction.
 *
 * @param tenants these alone, by slug, and not shared
 * @throws AppError run_under_way
 */
export async function takeBack(
  parts: LeaseParts & { database: ControlDatabase; migrator: Migrator },
  tenants?: readonly string[],
): Promise<DownReport> {
  const { database, migrator } = parts;
  const fleet = await database.read(readFleet);
  const chosen = fleet.schemas.filter((schema) =>
    tenants === undefined ? schema !== 'control' : tenants.some((slug) => schema === `tenant_${slug}`),
  );
  const versions = chosen.flatMap((schema) => fleet.applied.get(schema)?.at(-1) ?? []);
  const newest = versions.toSorted().at(-1);
  const report: DownReport = { results: [] };
  if (newest === undefined) return report;
  const options = tenants === undefined ? {} : { tenants };
  await withBriefRun(parts, { options, requestedBy: 'cli, down' }, async () => {
    for (const schema of chosen.toReversed()) {
      if (fleet.applied.get(schema)?.at(-1) !== newest) continue;
      try {
        const step = await migrator.inSchema(schema, (work) => work.descend());
        report.results.push({ schema, outcome: 'taken back', step });
      } catch (error) {
        report.results.push({ schema, outcome: 'failed', step: newest, error: wordsOf(error) });
      }
    }
    return report.results.every(({ outcome }) => outcome !== 'failed');
  });
  return report;
}
