import { beforeAll, describe, expect, it } from '@jest/globals';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { RunEvent } from '../../src/control/migrations/journal.ts';
import { refuseFaulty } from '../../src/control/migrations/judge.ts';
import { command } from '../../src/control/tenants/service.ts';
import { useDatabase } from '../support/database.ts';
import { slugs, useFleet } from '../support/fleet.ts';
import { holding } from '../support/holding.ts';
import { until } from '../support/until.ts';

describe('canaries', () => {
  const database = useDatabase();
  const fleet = useFleet(database);
  beforeAll(async () => {
    for (const slug of slugs(6)) await fleet.onboard(slug);
    await database.superuser('create table tenant_t05.reminders (mine text)');
    await fleet.addStep('tenant', '9001_reminders', 'create table reminders (id int)');
  });

  it('that fail keep everybody else from it, and the report says so', async () => {
    const report = await fleet.control.runner.up({ canary: ['t05'] });
    expect(report).toMatchObject({
      status: 'halted',
      reason: 'tenant_t05 failed, and nobody else is to suffer it',
      counts: { applied: 1, failed: 1, skipped: 5 },
    });
    expect(await fleet.schemasWith('reminders')).toEqual(['shared', 'tenant_t05']);
    expect(await fleet.at('9001_reminders')).toBe(1);
  });

  it('are those that are tagged, by default', async () => {
    await fleet.control.tenants.patch('t05', { canary: true });
    expect((await fleet.control.runner.outline()).waves).toEqual([
      { name: 'canary', schemas: ['tenant_t05'] },
      { name: 'wave 1', schemas: ['tenant_t01', 'tenant_t02', 'tenant_t03', 'tenant_t04'] },
      { name: 'wave 2', schemas: ['tenant_t06'] },
    ]);
    const waves: string[] = [];
    const onEvent = (event: RunEvent) => {
      if (event.type === 'wave') waves.push(event.wave);
    };
    expect((await fleet.control.runner.up({ onEvent })).status).toBe('halted');
    await database.superuser('drop table tenant_t05.reminders');
    expect((await fleet.control.runner.up({ onEvent })).counts).toMatchObject({ applied: 6, failed: 0 });
    expect(waves).toEqual(['control', 'canary', 'control', 'canary', 'wave 1', 'wave 2']);
  });
});

describe('more failures than are put up with', () => {
  const database = useDatabase();
  const fleet = useFleet(database);

  it('halt the run', async () => {
    for (const slug of slugs(6)) await fleet.onboard(slug);
    for (const slug of slugs(3))
      await database.superuser(`create table tenant_${slug}.reminders (mine text)`);
    await fleet.addStep('tenant', '9001_reminders', 'create table reminders (id int)');
    const report = await fleet.control.runner.up({ parallel: 1, maxFailures: 1 });
    expect(report).toMatchObject({
      status: 'halted',
      reason: '2 schemas have failed, and 1 may',
      counts: { applied: 1, failed: 2, skipped: 4 },
    });
  });
});

describe('what is asked of a run that is under way', () => {
  const database = useDatabase();
  const fleet = useFleet(database);
  beforeAll(async () => {
    for (const slug of slugs(3)) await fleet.onboard(slug);
  });

  it('pauses it, shows it paused, and lets it go on', async () => {
    await fleet.addStep('tenant', '9001_one', 'alter table users add column one int');
    const events: string[] = [];
    const run = await holding(database, 'lock table tenant_t01.users', async () => {
      const up = fleet.control.runner.up({ parallel: 1, onEvent: ({ type }) => events.push(type) });
      await until(async () => (await fleet.control.fleet.status()).run !== null, 'the run');
      await fleet.control.fleet.ask('pause', command);
      await until(() => events.includes('paused'), 'the run to pause');
      expect((await fleet.control.fleet.status()).run).toMatchObject({ status: 'paused', wanted: 'pause' });
      return { up };
    });
    const before = await fleet.at('9001_one');
    expect(before).toBeLessThan(4);
    await fleet.control.fleet.ask('run', command);
    expect((await run.up).counts).toMatchObject({ applied: 4, failed: 0 });
  });

  it('cancels it: what has begun is finished, the rest is skipped', async () => {
    await fleet.addStep('tenant', '9002_two', 'alter table users add column two int');
    const report = await holding(database, 'lock table tenant_t01.users', async () => {
      const up = fleet.control.runner.up({ parallel: 1 });
      await until(async () => (await fleet.at('9002_two')) > 0, 'the run to be under way');
      await fleet.control.fleet.ask('cancel', command);
      return up;
    });
    expect(report).toMatchObject({ status: 'cancelled', reason: 'the run was cancelled' });
    expect(report.counts.skipped).toBeGreaterThan(0);
    await expect(fleet.control.fleet.ask('pause', command)).rejects.toMatchObject({ code: 'not_found' });
    await expect(fleet.control.fleet.ask('pause', command, report.run)).rejects.toMatchObject({
      code: 'run_ended',
    });
    expect((await fleet.control.runner.up()).status).toBe('succeeded');
  });

  it('is audited', async () => {
    const rows = await database.superuser<{ action: string }>(
      `select action from control.audit_events where action like 'migrations.%' order by id`,
    );
    expect(rows.map(({ action }) => action)).toEqual([
      'migrations.pause',
      'migrations.resume',
      'migrations.cancel',
    ]);
  });
});

describe('names that are nobody', () => {
  const database = useDatabase();
  const fleet = useFleet(database);

  it('are refused, rather than to run without the canaries that were meant', async () => {
    await fleet.onboard('own');
    await fleet.onboard('common', 'shared');
    await fleet.addStep('tenant', '9001_one', 'create table one (id int)');
    for (const choices of [{ canary: ['owm'] }, { canary: ['common'] }, { tenants: ['own', 'owm'] }]) {
      const refusal = { code: 'invalid_input', message: expect.stringContaining('No tenant has a schema') };
      await expect(fleet.control.runner.up(choices)).rejects.toMatchObject(refusal);
      await expect(fleet.control.runner.outline(choices)).rejects.toMatchObject(refusal);
      await expect(fleet.control.fleet.start(choices, command)).rejects.toMatchObject(refusal);
    }
    expect(await fleet.at('9001_one')).toBe(0);
  });
});

describe('a tenant that is deleted while a run is under way', () => {
  const database = useDatabase();
  const fleet = useFleet(database);

  it('is no failure', async () => {
    for (const slug of slugs(2)) await fleet.onboard(slug);
    await fleet.addStep('tenant', '9001_one', 'alter table users add column one int');
    let tries = 0;
    const onEvent = ({ type }: RunEvent) => {
      if (type === 'retry') tries += 1;
    };
    const { up } = await holding(database, 'lock table tenant_t01.users', async () => {
      const run = fleet.control.runner.up({ parallel: 1, onEvent });
      await until(() => tries > 0, 'a try that the lock is in the way of');
      // As the last step of a purge leaves it.
      await database.superuser(
        `update control.tenants set status = 'purged', slug = id::text, schema_name = 'purged' where slug = 't01'`,
      );
      await run; // not even the lock is waited for
      return { up: run };
    });
    const report = await up;
    expect(report).toMatchObject({ status: 'succeeded', counts: { applied: 2, failed: 0, skipped: 1 } });
    expect(report.results.find(({ outcome }) => outcome === 'skipped')).toMatchObject({
      schema: 'tenant_t01',
      error: 'the schema is gone',
    });
  });
});

describe('a step that was edited after it had been applied', () => {
  const database = useDatabase();
  const fleet = useFleet(database);

  it('is refused, by name, before anything is done; a comment is no edit', async () => {
    await fleet.onboard('t01');
    await fleet.addStep('tenant', '9001_one', 'create table one (id int)');
    await fleet.control.runner.up();

    const commented = await fleet.older();
    const file = path.join(commented.folder, 'tenant', '9001_one.ts');
    await writeFile(file, `// A remark.\n${await readFile(file, 'utf8')}`);
    expect((await commented.control.runner.up()).status).toBe('succeeded');

    const edited = await fleet.older();
    const other = path.join(edited.folder, 'tenant', '9001_one.ts');
    await writeFile(other, (await readFile(other, 'utf8')).replace('id int', 'id bigint'));
    await writeFile(
      path.join(edited.folder, 'tenant', '9002_two.ts'),
      (await readFile(other, 'utf8')).replace('one', 'two'),
    );
    await expect(edited.control.runner.up()).rejects.toMatchObject({
      code: 'migration_refused',
      message: expect.stringContaining(
        'migrations/tenant/9001_one would execute something else than what was applied to 2 schemas.',
      ),
    });
    expect(await fleet.schemasWith('two')).toEqual([]);
  });
});

describe('a step that lint objects to', () => {
  const database = useDatabase();
  const fleet = useFleet(database, {
    migrations: { lint: (pending) => refuseFaulty(pending, () => undefined) },
  });
  const index = 'create index products_by_name_idx on products (tenant_id, name) where deleted_at is null';

  it('is applied nowhere, and the message says what and where to look', async () => {
    await fleet.onboard('t01');
    await fleet.addStep('tenant', '9001_index', index);
    await expect(fleet.control.runner.up()).rejects.toMatchObject({
      code: 'migration_refused',
      message: expect.stringMatching(
        /^Nothing was migrated.*\nmigrations\/tenant\/9001_index: require-concurrent-index-creation: /,
      ),
    });
    expect(await fleet.at('9001_index')).toBe(0);
    expect(await database.superuser('select from control.migration_lease')).toEqual([]);
  });

  it('is applied when it says why that does not count', async () => {
    const allowing = await fleet.older();
    await writeFile(
      path.join(allowing.folder, 'tenant', '9001_index.ts'),
      `export const up = (knex) => knex.raw(${JSON.stringify(index)});
       export const allow = { 'require-concurrent-index-creation': 'There are few products.' };\n`,
    );
    expect((await allowing.control.runner.up()).counts).toMatchObject({ applied: 2, failed: 0 });
  });
});

describe('down', () => {
  const database = useDatabase();
  const fleet = useFleet(database);

  it('takes the newest step back, and nothing else', async () => {
    for (const slug of slugs(2)) await fleet.onboard(slug);
    const before = await fleet.ledger();
    await fleet.addFile('tenant', '9001_one', { up: 'create table one (id int)' });
    const steps = await fleet.older();
    const file = path.join(steps.folder, 'tenant', '9001_one.ts');
    await writeFile(
      file,
      (await readFile(file, 'utf8'))
        .replace("throw new Error('nobody goes down here')", '')
        .replace('down()', 'down(knex)'),
    );
    await writeFile(
      file,
      (await readFile(file, 'utf8')).replace(
        'down(knex) {',
        "down(knex) { await knex.raw('drop table one');",
      ),
    );
    await steps.control.runner.up();
    expect(await fleet.schemasWith('one')).toHaveLength(3);
    const report = await steps.control.runner.down();
    expect(report.results.map(({ schema, outcome, step }) => [schema, outcome, step])).toEqual([
      ['tenant_t02', 'taken back', '9001_one'],
      ['tenant_t01', 'taken back', '9001_one'],
      ['shared', 'taken back', '9001_one'],
    ]);
    expect(await fleet.schemasWith('one')).toEqual([]);
    expect(await fleet.ledger()).toEqual(before);
    expect(await fleet.knexLedgers()).toEqual(before);
    const versions = await database.superuser<{ version: string }>(
      'select version from control.schema_versions',
    );
    expect(new Set(versions.map(({ version }) => version))).toEqual(new Set([before['shared']?.at(-1)]));
  });
});
