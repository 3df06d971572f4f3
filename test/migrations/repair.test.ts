import { beforeAll, describe, expect, it } from '@jest/globals';
import type { Finding } from '../../src/control/migrations/drift.ts';
import { withConnection } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { type Difference, leftToPeople, mended } from '../support/differences.ts';
import { useFleet } from '../support/fleet.ts';
import { useRepairing, wordsOf } from '../support/repairing.ts';

const database = useDatabase();
const fleet = useFleet(database);
const { find, repair } = useRepairing(database, fleet);
beforeAll(() => fleet.onboard('acme'));

const told = ({ said }: Difference) => said.map((words) => `tenant_acme: ${words}`);

/** What is suggested, by somebody who may do everything. */
async function follow(findings: readonly Finding[]): Promise<void> {
  const statements = findings.flatMap(({ mend }) => mend.flatMap((step) => step.statements));
  expect(statements).not.toEqual([]);
  await withConnection(database.superuserUrl(), async (client) => {
    await client.query('set search_path = tenant_acme, pg_temp; set role tenantry_owner');
    for (const statement of statements) {
      const asOwner = !/owner to/.test(statement);
      await client.query(asOwner ? 'set role tenantry_owner' : 'reset role');
      await client.query(statement);
    }
  });
}

describe('what is safe is mended:', () => {
  it.each(Object.entries(mended))('%s', async (_, difference) => {
    await database.superuser(difference.done);
    const findings = await find();
    expect(wordsOf(findings)).toEqual(told(difference));
    expect(findings.map((finding) => finding.repair)).toEqual(findings.map(() => 'safe'));
    expect((await repair(findings)).counts).toEqual({
      ...{ mended: findings.length, failed: 0, 'by hand': 0, skipped: 0 },
    });
    expect(wordsOf(await find())).toEqual([]);
  });
});

describe('what is not is left alone, and what is suggested mends it:', () => {
  it.each(Object.entries(leftToPeople))('%s', async (_, difference) => {
    await database.superuser(difference.done);
    const findings = await find();
    expect(wordsOf(findings)).toEqual(told(difference));
    const report = await repair(findings);
    expect(report.counts).toEqual({ mended: 0, failed: 0, 'by hand': findings.length, skipped: 0 });
    expect(wordsOf(await find())).toEqual(told(difference));
    await follow(findings);
    // A column or table that has been made again is completed by repair.
    await repair(await find());
    expect(wordsOf(await find())).toEqual([]);
  });
});
