import { beforeAll, describe, expect, it } from '@jest/globals';
import type { RunEvent } from '../../src/control/migrations/journal.ts';
import type { RunReport } from '../../src/control/migrations/report.ts';
import { withConnection } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { slugs, useFleet } from '../support/fleet.ts';
import { holding } from '../support/holding.ts';
import { until } from '../support/until.ts';

const reader = 'select count(*) from tenant_t02.products';

describe('a table that somebody reads in a long transaction', () => {
  const database = useDatabase();
  const fleet = useFleet(database);
  beforeAll(async () => {
    for (const slug of slugs(4)) await fleet.onboard(slug);
  });

  it('is migrated when they are done; meanwhile all others of the wave are, and nobody waits long behind us', async () => {
    await fleet.addStep('tenant', '9001_colour', 'alter table products add column colour text');
    const events: RunEvent[] = [];
    let run: Promise<RunReport> | undefined;
    const waits: number[] = [];
    await holding(database, reader, async () => {
      run = fleet.control.runner.up({ parallel: 2, onEvent: (event) => events.push(event) });
      await until(async () => (await fleet.at('9001_colour')) === 4, 'all others of the wave to be migrated');
      // Who reads the table meanwhile queues behind our statement for as long as it tries, and no longer.
      await withConnection(database.superuserUrl(), async (client) => {
        await until(async () => {
          const startedMs = performance.now();
          await client.query(reader);
          waits.push(performance.now() - startedMs);
          return events.filter(({ type }) => type === 'retry').length >= 6;
        }, 'some tries');
      });
    });
    expect((await run)?.counts).toMatchObject({ applied: 5, failed: 0 });
    const retries = events.filter((event) => event.type === 'retry');
    expect(new Set(retries.map(({ schema }) => schema))).toEqual(new Set(['tenant_t02']));
    expect(retries[0]?.error).toContain('lock timeout');
    const [row] = await database.superuser<{ attempts: number }>(
      `select attempts from control.migration_ledger where schema_name = 'tenant_t02' and migration = '9001_colour'`,
    );
    expect(row?.attempts).toBe(retries.length + 1);
    // Not one of many reads waited as long as the transaction that we wait for lasted.
    expect(waits.length).toBeGreaterThan(10);
    expect(Math.max(...waits)).toBeLessThan(5000);
  });
});

describe('a lock that is never to be had', () => {
  const database = useDatabase();
  const rung = { timeoutMs: 20, pauseMs: 0 };
  const fleet = useFleet(database, {
    migrations: { ladders: { lock: [rung, rung, rung], patient: [rung] } },
  });

  it('fails this schema alone, with its tries in the ledger, and the next run goes on from there', async () => {
    for (const slug of slugs(3)) await fleet.onboard(slug);
    await fleet.addStep('tenant', '9001_colour', 'alter table products add column colour text');
    const report = await holding(database, reader, () => fleet.control.runner.up());
    expect(report).toMatchObject({ status: 'failed', counts: { applied: 3, failed: 1 } });
    const failures = () =>
      database.superuser('select schema_name, migration, attempts, error from control.migration_failures');
    expect(await failures()).toEqual([
      {
        ...{ schema_name: 'tenant_t02', migration: '9001_colour', attempts: 3 },
        error: 'canceling statement due to lock timeout',
      },
    ]);
    expect((await fleet.control.fleet.status()).failures).toMatchObject([
      { schema: 'tenant_t02', attempts: 3 },
    ]);

    expect((await fleet.control.runner.up()).counts).toMatchObject({ applied: 1, failed: 0 });
    expect(await failures()).toEqual([]);
    const [row] = await database.superuser<{ attempts: number }>(
      `select attempts from control.migration_ledger where schema_name = 'tenant_t02' and migration = '9001_colour'`,
    );
    expect(row?.attempts).toBe(4);
  });
});

describe('the lock of knex itself', () => {
  const database = useDatabase();
  const rung = { timeoutMs: 20, pauseMs: 0 };
  const fleet = useFleet(database, { migrations: { ladders: { lock: [rung, rung], patient: [rung] } } });
  const lockKnex = () => database.superuser('update tenant_t01.knex_migrations_lock set is_locked = 1');

  beforeAll(() => fleet.onboard('t01'));

  it('is cleared when whoever took it is gone', async () => {
    await lockKnex();
    await fleet.addStep('tenant', '9001_one', 'create table one (id int)');
    expect((await fleet.control.runner.up()).counts).toMatchObject({ applied: 2, failed: 0 });
    expect(await database.superuser('select is_locked from tenant_t01.knex_migrations_lock')).toEqual([
      { is_locked: 0 },
    ]);
  });

  it('is kept while somebody works as the owner who is not of Tenantry', async () => {
    await lockKnex();
    await fleet.addStep('tenant', '9002_two', 'create table two (id int)');
    const report = await withConnection(String(database.env()['DATABASE_ADMIN_URL']), () =>
      fleet.control.runner.up(),
    );
    expect(report.results.find(({ outcome }) => outcome === 'failed')).toMatchObject({
      schema: 'tenant_t01',
      error: 'Knex holds its lock on this schema, and may be at work.',
    });
    expect((await fleet.control.runner.up()).counts).toMatchObject({ applied: 1, failed: 0 });
  });
});
