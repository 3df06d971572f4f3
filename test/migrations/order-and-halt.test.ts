import { beforeAll, describe, expect, it } from '@jest/globals';
import { type RunReport, statusOf } from '../../src/control/migrations/report.ts';
import { useDatabase } from '../support/database.ts';
import { slugs, useFleet } from '../support/fleet.ts';
import { holding } from '../support/holding.ts';
import { until } from '../support/until.ts';

describe('a run', () => {
  const database = useDatabase();
  const fleet = useFleet(database);
  beforeAll(async () => {
    for (const slug of slugs(6)) await fleet.onboard(slug);
  });

  it('that fails in shared stops there: no tenant is moved', async () => {
    await database.superuser('create table shared.halted (mine text)');
    await fleet.addStep('tenant', '9002_halted', 'create table halted (id int)');
    const report = await fleet.control.runner.up();
    expect(report.counts).toEqual({ applied: 0, 'up-to-date': 1, failed: 1, skipped: 6 });
    expect(report.results[1]).toMatchObject({ schema: 'shared', outcome: 'failed' });
    for (const result of report.results.slice(2)) {
      expect(result).toMatchObject({ outcome: 'skipped', applied: [], error: 'shared failed' });
    }
    expect(await fleet.schemasWith('halted')).toEqual(['shared']);
    await database.superuser('drop table shared.halted');
    expect((await fleet.control.runner.up()).counts).toMatchObject({ applied: 7, failed: 0 });
  });

  // The last one: modules are read once a process, so the step cannot be mended here.
  it('that fails in control moves nothing else', async () => {
    await fleet.addStep('control', '9999_broken', 'select no_such_function()');
    await fleet.addStep('tenant', '9999_after', 'create table after (id int)');
    const report = await fleet.control.runner.up();
    expect(report.counts).toEqual({ applied: 0, 'up-to-date': 0, failed: 1, skipped: 7 });
    expect(report.results[0]?.error).toContain('no_such_function');
    expect(await fleet.schemasWith('after')).toEqual([]);
  });
});

describe('a run that is aborted', () => {
  const database = useDatabase();
  const fleet = useFleet(database);

  it('finishes what has begun, skips the rest, and is completed by the next', async () => {
    for (const slug of slugs(6)) await fleet.onboard(slug);
    await fleet.addStep('tenant', '9002_slow', 'create table slow (id int)');
    const interruption = new AbortController();
    const report = await fleet.control.runner.up({
      parallel: 1,
      signal: interruption.signal,
      onProgress: ({ result }) => {
        if (result.schema === 'tenant_t02') interruption.abort();
      },
    });
    expect(report.counts).toEqual({ applied: 3, 'up-to-date': 1, failed: 0, skipped: 4 });
    expect(report.results.at(-1)).toMatchObject({ outcome: 'skipped', error: 'the run was interrupted' });
    expect(await fleet.schemasWith('slow')).toEqual(['shared', 'tenant_t01', 'tenant_t02']);
    expect(statusOf(await fleet.control.runner.plan()).pending).toBe(4);
    const rest = await fleet.control.runner.up();
    expect(rest.counts).toEqual({ applied: 4, 'up-to-date': 4, failed: 0, skipped: 0 });
  });

  it('before it begins does nothing at all', async () => {
    await fleet.addStep('tenant', '9003_never', 'create table never (id int)');
    const report = await fleet.control.runner.up({ signal: AbortSignal.abort() });
    expect(report.counts).toEqual({ applied: 0, 'up-to-date': 0, failed: 0, skipped: 8 });
    expect(await fleet.schemasWith('never')).toEqual([]);
  });
});

describe('tenants at the same time', () => {
  const database = useDatabase();
  const fleet = useFleet(database);

  beforeAll(async () => {
    for (const slug of slugs(10)) await fleet.onboard(slug);
    await database.superuser(`create table public.traces (step text, together int);
      grant insert on public.traces to tenantry_owner`);
  });

  /** A tenant's step goes on when as many are under way as there should be at most, or after a second in vain. */
  const counted = (step: string, wanted: number) => `
    do $$
    declare
      together int := 0;
      looks int := 0;
    begin
      perform pg_advisory_xact_lock_shared(4711);
      loop
        select count(*) into together from pg_locks where locktype = 'advisory' and objid = 4711 and granted;
        looks := looks + 1;
        exit when current_schema() = 'shared' or together >= ${wanted} or looks > 100;
        perform pg_sleep(0.01);
      end loop;
      insert into public.traces values ('${step}', together);
    end $$`;

  it.each([
    ['9002_alone', 1],
    ['9003_in_pairs', 2],
    ['9004_by_six', 6],
  ])('%s: parallel %i means at most so many, and as many', async (name, parallel) => {
    await fleet.addStep('tenant', name, counted(name, parallel + 1));
    const report = await fleet.control.runner.up({ parallel });
    expect(report.counts).toMatchObject({ applied: 11, failed: 0 });
    const [trace] = await database.superuser<{ most: number; all: number }>(
      'select max(together) as most, count(*)::int as all from public.traces where step = $1',
      [name],
    );
    expect(trace).toEqual({ most: parallel, all: 11 });
  });
});

describe('a tenant that is made while a run is under way', () => {
  const database = useDatabase();
  const fleet = useFleet(database);

  it('ends at the newest version, also when a build made it that knows fewer steps', async () => {
    for (const slug of slugs(3)) await fleet.onboard(slug);
    const older = await fleet.older();
    await fleet.addStep('tenant', '9002_under_way', 'alter table users add column under_way int');
    let run: Promise<RunReport> | undefined;
    await holding(database, 'lock table tenant_t03.users in access exclusive mode', async () => {
      run = fleet.control.runner.up({ parallel: 2 });
      await until(async () => (await fleet.at('9002_under_way')) === 3, 'the run to be under way');
      await older.onboard('in_between');
      expect((await fleet.ledger())['tenant_in_between']).not.toContain('9002_under_way');
    });
    expect((await run)?.counts).toMatchObject({ failed: 0, applied: 5 });
    expect((await fleet.ledger())['tenant_in_between']).toContain('9002_under_way');
    expect(statusOf(await fleet.control.runner.plan()).pending).toBe(0);
  });
});
