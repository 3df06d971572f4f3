import os from 'node:os';
import type { ControlDatabase } from '../../db/index.ts';
import { wordsOf } from './apply.ts';
import { type LeaseParts, takeLease } from './lease.ts';
import { readFleet } from './ledger.ts';
import type { Migrator } from './migrator.ts';
import { beginRun, insertRun, setStatus } from './runs.ts';

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
  const run = await database.write((session) => insertRun(session, { options, requestedBy: 'cli, down' }));
  const lease = await takeLease(parts, run, `${os.hostname()} pid ${process.pid}`);
  try {
    await database.write((session) => beginRun(session, run));
    for (const schema of chosen.toReversed()) {
      if (fleet.applied.get(schema)?.at(-1) !== newest) continue;
      try {
        const step = await migrator.inSchema(schema, (work) => work.descend());
        report.results.push({ schema, outcome: 'taken back', step });
      } catch (error) {
        report.results.push({ schema, outcome: 'failed', step: newest, error: wordsOf(error) });
      }
    }
    const failed = report.results.some(({ outcome }) => outcome === 'failed');
    await database.write((session) => setStatus(session, run, failed ? 'failed' : 'succeeded', null));
  } finally {
    await lease.release();
  }
  return report;
}
