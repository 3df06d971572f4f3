import { beforeAll, describe, expect, it } from '@jest/globals';
import { until } from '../support/until.ts';
import type { RunReport } from '../../src/control/migrations/report.ts';
import { command } from '../../src/control/tenants/service.ts';
import { useDatabase } from '../support/database.ts';
import { slugs, useFleet } from '../support/fleet.ts';
import { holding } from '../support/holding.ts';

const indexes = `select n.nspname as schema, i.indisvalid as valid
  from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_index i on i.indexrelid = c.oid
  where c.relname = 'products_colour_idx' order by 1`;

describe('an index that is built concurrently', () => {
  const database = useDatabase();
  const fleet = useFleet(database);
  const build = `create index concurrently products_colour_idx on products (tenant_id, name)`;
  const everywhere = ['shared', 'tenant_t01', 'tenant_t02', 'tenant_t03'];

  beforeAll(async () => {
    for (const slug of slugs(3)) await fleet.onboard(slug);
  });

  it('is built in every schema; what is invalid is dropped first, and what is there already counts', async () => {
    // As a process leaves one that was killed while it waited for others, and one that died before it wrote it down.
    await database.superuser(`create index products_colour_idx on tenant_t01.products (name)`);
    await database.superuser(`update pg_index set indisvalid = false
      where indexrelid = 'tenant_t01.products_colour_idx'::regclass`);
    await database.superuser(`create index products_colour_idx on tenant_t02.products (tenant_id, name)`);
    await fleet.addFile('tenant', '9001_index', {
      up: build,
      more: 'export const config = { transaction: false };',
    });
    const report = await fleet.control.runner.up({ parallel: 3 });
    expect(report.counts).toMatchObject({ applied: 4, failed: 0 });
    expect(await database.superuser(indexes)).toEqual(everywhere.map((schema) => ({ schema, valid: true })));
    const [{ definition } = { definition: '' }] = await database.superuser<{ definition: string }>(
      `select pg_get_indexdef('tenant_t01.products_colour_idx'::regclass) as definition`,
    );
    expect(definition).toContain('(tenant_id, name)');
    expect(await fleet.ledger()).toEqual(await fleet.knexLedgers());
  });

  it('refuses what is not about an index with a name', async () => {
    await fleet.addFile('tenant', '9002_vacuum', {
      up: 'vacuum products',
      more: 'export const config = { transaction: false };\nexport const allow = { concurrently: "for this test" };',
    });
    const report = await fleet.control.runner.up().catch((error: Error) => error.message);
    expect(JSON.stringify(report)).toContain('9002_vacuum');
    expect(await fleet.at('9002_vacuum')).toBe(0);
  });
});

describe('rows that are rewritten', () => {
  const database = useDatabase();
  const fleet = useFleet(database);
  const expand = '9001_add_colour';
  const fill = '9002_fill_colour';
  const contract = '9003_require_colour';
  const rows = 3000;

  beforeAll(async () => {
    await fleet.onboard('own');
    await fleet.onboard('one', 'shared');
    await fleet.onboard('two', 'shared');
    await database.superuser(
      `insert into shared.products (tenant_id, id, sku, name, price_cents, currency, stock)
       select t.id, gen_random_uuid(), 'sku-' || n, 'x', 1, 'USD', 1
       from control.tenants t, generate_series(1, $1) n where t.isolation = 'shared'`,
      [rows],
    );
    await database.superuser(
      `insert into tenant_own.products (tenant_id, id, sku, name, price_cents, currency, stock)
       select t.id, gen_random_uuid(), 'sku-' || n, 'x', 1, 'USD', 1
       from control.tenants t, generate_series(1, $1) n where t.slug = 'own'`,
      [rows],
    );
  });

  const left = async () => {
    const [row] = await database.superuser<{ shared: number; own: number }>(
      `select (select count(*) from shared.products where colour is null)::int as shared,
         (select count(*) from tenant_own.products where colour is null)::int as own`,
    );
    return row;
  };

  it('are rewritten in every tenant, between the step that makes room and the one that relies on it', async () => {
    await fleet.addStep('tenant', expand, 'alter table products add column colour text');
    await fleet.control.runner.up();
    expect(await left()).toEqual({ shared: 2 * rows, own: rows });

    await fleet.addFile('tenant', fill, {
      more: `export const backfill = { table: 'products', set: "colour = 'red'", where: 'colour is null' };`,
    });
    await fleet.addFile('tenant', contract, {
      up: 'alter table products add constraint products_colour_check check (colour is not null)',
      more: `export const allow = { 'constraint-missing-not-valid': 'for this test', 'adding-check-constraint': 'for this test' };`,
    });
    const report = await fleet.control.runner.up();
    expect(report).toMatchObject({ status: 'succeeded', counts: { applied: 2, failed: 0 } });
    expect(report.results.find(({ schema }) => schema === 'tenant_own')?.applied).toEqual([fill, contract]);
    expect(await left()).toEqual({ shared: 0, own: 0 });
    expect(await fleet.ledger()).toEqual(await fleet.knexLedgers());
  });

  it('wait for a row that somebody has locked, and lose nothing', async () => {
    await fleet.addFile('tenant', '9004_repaint', {
      more: `export const backfill = { table: 'products', set: "colour = 'blue'", where: "colour = 'red'" };`,
    });
    let run: Promise<RunReport> | undefined;
    const one = `update tenant_own.products set name = 'mine' where sku = 'sku-7'`;
    await holding(database, one, async () => {
      run = fleet.control.runner.up();
      const blue = `select count(*)::int as n from shared.products where colour = 'blue'`;
      await until(
        async () => (await database.superuser<{ n: number }>(blue))[0]?.n === 2 * rows,
        'shared to be rewritten',
      );
    });
    expect((await run)?.counts).toMatchObject({ applied: 2, failed: 0 });
    expect(
      await database.superuser(`select colour, count(*)::int as n from tenant_own.products group by 1`),
    ).toEqual([{ colour: 'blue', n: rows }]);
  });

  it('stop between two batches when the run is cancelled, and the next run goes on from there', async () => {
    await fleet.addFile('tenant', '9005_slowly', {
      more: `export const backfill = { table: 'products', set: "colour = slowly('green')", where: "colour = 'blue'" };`,
    });
    // So that a batch takes about a second, which makes the next ones smaller.
    await database.superuser(`create function public.slowly(text) returns text language plpgsql as
      $$ begin perform pg_sleep(0.002); return $1; end $$`);
    for (const schema of ['shared', 'tenant_own']) {
      await database.superuser(`create function ${schema}.slowly(text) returns text language sql as
        $$ select public.slowly($1) $$`);
    }
    const green = async () => {
      const [row] = await database.superuser<{ n: number }>(
        `select count(*)::int as n from shared.products where colour = 'green'`,
      );
      return row?.n ?? 0;
    };
    const run = fleet.control.runner.up();
    await until(async () => (await green()) > 0, 'the first batch');
    await fleet.control.fleet.ask('cancel', command);
    expect(await run).toMatchObject({ status: 'cancelled', counts: { applied: 0, failed: 0 } });
    const done = await green();
    expect(done).toBeLessThan(2 * rows);
    expect(await fleet.at('9005_slowly')).toBe(0);
    await database.superuser(`create or replace function public.slowly(text) returns text language sql as
      $$ select $1 $$`);
    expect((await fleet.control.runner.up()).counts).toMatchObject({ applied: 2, failed: 0 });
    expect(await green()).toBe(2 * rows);
  });
});
