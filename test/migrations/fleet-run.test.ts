import { beforeAll, describe, expect, it } from '@jest/globals';
import { statusOf } from '../../src/control/migrations/report.ts';
import { useDatabase } from '../support/database.ts';
import { slugs, useFleet } from '../support/fleet.ts';
import { stepsOf } from '../support/ladders.ts';

const controlSteps = await stepsOf('control');
const tenantSteps = await stepsOf('tenant');
const first = tenantSteps.at(-1) ?? '';

describe('on an empty database', () => {
  const database = useDatabase({ empty: true });
  const fleet = useFleet(database);

  it('the fleet is control and shared; up makes both, in this order, and a second up finds nothing to do', async () => {
    const { runner } = fleet.control;
    const plan = await runner.plan();
    expect(plan.map(({ schema, version, pending }) => ({ schema, version, pending }))).toEqual([
      { schema: 'control', version: undefined, pending: controlSteps },
      { schema: 'shared', version: undefined, pending: tenantSteps },
    ]);
    const report = await runner.up();
    expect(report.results).toMatchObject([
      { schema: 'control', outcome: 'applied', from: undefined, to: controlSteps.at(-1) },
      { schema: 'shared', outcome: 'applied', from: undefined, to: first },
    ]);
    expect(report.counts).toEqual({ applied: 2, 'up-to-date': 0, failed: 0, skipped: 0 });
    expect((await runner.up()).counts).toEqual({ applied: 0, 'up-to-date': 2, failed: 0, skipped: 0 });
    expect(statusOf(await runner.plan()).pending).toBe(0);
  });

  it('the ledgers hold names without an ending, so that source and build agree', async () => {
    const ledgers = await fleet.knexLedgers();
    expect(ledgers).toEqual({ control: controlSteps, shared: tenantSteps });
    expect(await fleet.ledger()).toEqual(ledgers);
  });
});

describe('of twenty tenants of which one fails', () => {
  const database = useDatabase();
  const fleet = useFleet(database);
  const tenants = slugs(20);
  const second = '9001_invoices';
  const third = '9002_reminders';

  beforeAll(async () => {
    for (const slug of tenants) await fleet.onboard(slug);
    await database.superuser('create table tenant_t07.reminders (mine text)');
    await fleet.addStep('tenant', second, 'create table invoices (id int)');
    await fleet.addStep('tenant', third, 'create table reminders (id int)');
  });

  it('before the run all wait for the same', async () => {
    const status = statusOf(await fleet.control.runner.plan());
    expect(status).toMatchObject({ schemas: 22, pending: 21 });
    expect(status.outliers).toHaveLength(21);
    expect(status.outliers[0]).toMatchObject({ schema: 'shared', pending: [second, third], version: first });
  });

  it('the other nineteen are at the new version, and the failed one is named with its reason, at the step before it', async () => {
    const seen: number[] = [];
    const report = await fleet.control.runner.up({ onProgress: ({ done }) => seen.push(done) });
    expect(report.counts).toEqual({ applied: 20, 'up-to-date': 1, failed: 1, skipped: 0 });
    expect(seen).toEqual(Array.from({ length: 22 }, (_, n) => n + 1));
    const failed = report.results.filter(({ outcome }) => outcome === 'failed');
    expect(failed).toMatchObject([{ schema: 'tenant_t07', from: first, to: second, applied: [second] }]);
    expect(failed[0]?.error).toContain('relation "reminders" already exists');
    for (const result of report.results.filter(({ outcome }) => outcome === 'applied')) {
      expect(result).toMatchObject({ from: first, to: third, applied: [second, third] });
    }
    // The step before the one that failed stays: each is a transaction.
    expect(await fleet.schemasWith('invoices')).toHaveLength(21);
    expect(await fleet.schemasWith('reminders')).toHaveLength(21);
  });

  it('the central ledger and those of knex agree', async () => {
    const ledger = await fleet.ledger();
    expect(ledger).toEqual(await fleet.knexLedgers());
    expect(ledger['tenant_t07']).toEqual([...tenantSteps, second]);
    expect(ledger['tenant_t08']).toEqual([...tenantSteps, second, third]);
    expect(Object.keys(ledger)).toHaveLength(22);
  });

  it('the status names the one that is behind, and its rows can still be served', async () => {
    const status = statusOf(await fleet.control.runner.plan());
    expect(status.pending).toBe(1);
    expect(status.outliers).toEqual([
      { schema: 'tenant_t07', version: second, pending: [third], unknown: [] },
    ]);
    expect(await database.superuser('select email from tenant_t07.users')).toHaveLength(1);
  });

  it('a run after the cause is mended completes only what is left', async () => {
    await database.superuser('drop table tenant_t07.reminders');
    const before = await appliedAt();
    const report = await fleet.control.runner.up();
    expect(report.counts).toEqual({ applied: 1, 'up-to-date': 21, failed: 0, skipped: 0 });
    expect(report.results.find(({ outcome }) => outcome === 'applied')?.schema).toBe('tenant_t07');
    const after = await appliedAt();
    expect(after.filter((row) => !row.startsWith('tenant_t07'))).toEqual(
      before.filter((row) => !row.startsWith('tenant_t07')),
    );
    expect(await fleet.ledger()).toEqual(await fleet.knexLedgers());
    expect(statusOf(await fleet.control.runner.plan())).toMatchObject({ pending: 0, outliers: [] });
  });

  it('a tenant that is made afterwards is at the newest version from its first moment', async () => {
    await fleet.onboard('latecomer');
    expect((await fleet.ledger())['tenant_latecomer']).toEqual([...tenantSteps, second, third]);
    expect(await fleet.control.tenants.get('latecomer')).toMatchObject({ schemaVersion: third });
    await fleet.onboard('latecomer_shared', 'shared');
    expect(await fleet.control.tenants.get('latecomer_shared')).toMatchObject({ schemaVersion: third });
  });

  it('a schema that is ahead of this build is told apart from one that is behind', async () => {
    await database.superuser(
      `insert into control.migration_ledger (schema_name, migration, duration_ms) values ('tenant_t01', '0009_future', 1)`,
    );
    const status = statusOf(await fleet.control.runner.plan());
    expect(status).toMatchObject({
      pending: 0,
      outliers: [{ schema: 'tenant_t01', unknown: ['0009_future'] }],
    });
  });

  const appliedAt = async () =>
    (
      await database.superuser<{ row: string }>(
        `select concat_ws(' ', schema_name, migration, applied_at) as row from control.migration_ledger order by 1`,
      )
    ).map(({ row }) => row);
});
