import { beforeAll, describe, expect, it } from '@jest/globals';
import { statusOf } from '../../src/control/migrations/report.ts';
import { useDatabase } from '../support/database.ts';
import { slugs, useFleet } from '../support/fleet.ts';
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

/** The steps of these tests run in this process and leave their traces here. */
const traces = globalThis as unknown as { running: number; most: number; applied: number; wanted: number };

describe('tenants at the same time', () => {
  const database = useDatabase();
  const fleet = useFleet(database);
  // A tenant's step goes on when as many are under way as there should be at most, or after two seconds in vain.
  const counted = (table: string) => `
    globalThis.running += 1;
    globalThis.most = Math.max(globalThis.most, globalThis.running);
    const { rows } = await knex.raw('select current_schema() as schema');
    const company = () => rows[0].schema === 'shared' || globalThis.most >= globalThis.wanted;
    for (let look = 0; look < 400 && !company(); look += 1) await new Promise((resolve) => setTimeout(resolve, 5));
    await knex.raw('create table ${table} (id int)');
    globalThis.running -= 1;
    globalThis.applied += 1;`;
  const reset = (wanted = 0) => Object.assign(traces, { running: 0, most: 0, applied: 0, wanted });

  beforeAll(async () => {
    for (const slug of slugs(10)) await fleet.onboard(slug);
  });

  it.each([
    ['9002_alone', 1, 1],
    ['9003_in_pairs', 2, 2],
    // The migrator's connections are the other bound: nobody fails for want of one.
    ['9004_at_will', 50, 4],
  ])('%s: parallel %i means at most %i', async (name, parallel, most) => {
    reset(most);
    await fleet.addStep('tenant', name, counted(name.slice(5)));
    const report = await fleet.control.runner.up({ parallel });
    expect(report.counts).toMatchObject({ applied: 11, failed: 0 });
    expect(traces.most).toBe(most);
    expect(traces.applied).toBe(11);
  });

  it('two runners at once never apply a step twice, and between them or the next nothing is left', async () => {
    reset();
    await fleet.addStep('tenant', '9005_contended', counted('contended'));
    const { runner } = fleet.control;
    const reports = await Promise.all([runner.up(), runner.up()]);
    const errors = reports.flatMap(({ results }) => results.flatMap(({ error }) => error ?? []));
    for (const error of errors) expect(error).toMatch(/Another runner is at work|shared failed/);
    expect((await runner.up()).counts.failed).toBe(0);
    expect(traces.applied).toBe(11);
    expect(await fleet.schemasWith('contended')).toHaveLength(11);
    expect(await fleet.ledger()).toEqual(await fleet.knexLedgers());
    expect(statusOf(await runner.plan()).pending).toBe(0);
  });

  it('a tenant that is made while a run is under way ends at the newest version', async () => {
    reset();
    await fleet.addStep('tenant', '9006_under_way', counted('under_way'));
    const run = fleet.control.runner.up({ parallel: 1 });
    await until(() => traces.applied >= 2, 'the run to be under way');
    await fleet.onboard('in_between');
    await run;
    expect((await fleet.ledger())['tenant_in_between']).toContain('9006_under_way');
    expect(statusOf(await fleet.control.runner.plan()).pending).toBe(0);
  });
});
