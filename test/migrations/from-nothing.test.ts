import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../src/clock.ts';
import { createLadder } from '../../src/control/migrations/ladder.ts';
import { createMigrator, type Migrator } from '../../src/control/migrations/migrator.ts';
import { schemaName } from '../../src/db/index.ts';
import { build } from '../../src/version.ts';
import { contentOf, knexRows, withKnex } from '../support/content.ts';
import { useDatabase } from '../support/database.ts';

const database = useDatabase();
const ladders = fileURLToPath(new URL('../../migrations', import.meta.url));
const release: (() => Promise<unknown>)[] = [];
const adminUrl = () => database.env()['DATABASE_ADMIN_URL'] ?? '';

afterAll(async () => {
  for (const end of release.splice(0).toReversed()) await end();
});

/** The project's ladder, and these files on top of it. @param files name → text */
async function migratorWith(files: Record<string, string> = {}): Promise<Migrator & { folder: string }> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'tenantry-ladders-'));
  release.push(() => rm(folder, { recursive: true, force: true }));
  await cp(ladders, folder, { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    await writeFile(path.join(folder, 'tenant', `${name}.ts`), text);
  }
  const migrator = createMigrator({ adminUrl: adminUrl(), clock: systemClock, folder });
  release.push(() => migrator.stop());
  return { ...migrator, folder };
}

const down = 'export async function down() {}';
const up = (...statements: string[]) =>
  `export async function up(knex) { ${statements.map((sql) => `await knex.raw(${JSON.stringify(sql)});`).join('\n')} }\n${down}`;
const asking = (sql: string) =>
  `export async function up(knex) {
    const { rows } = await knex.raw('select 1 as one');
    if (rows[0].one === 1) await knex.raw(${JSON.stringify(sql)});
  }
  ${down}`;

const make = (migrator: Migrator, name: string) =>
  migrator.inSchema(schemaName(name), async (work) => {
    await work.createSchema();
    return work.climb();
  });

interface LedgerRow {
  migration: string;
  duration_ms: number;
}
const ledgerOf = (schema: string) =>
  database.superuser<LedgerRow>(
    `select migration, duration_ms, checksum, run, wave, attempts, build from control.migration_ledger
     where schema_name = $1 order by migration collate "C"`,
    [schema],
  );

describe('a schema that is made from nothing', () => {
  let migrator: Migrator & { folder: string };
  beforeAll(async () => {
    migrator = await migratorWith();
  });

  it('is, column for column, what knex makes, its own tables and rows included', async () => {
    await make(migrator, 'tenant_known');
    await database.superuser(`create schema tenant_knexed authorization tenantry_owner;
      grant usage on schema tenant_knexed to tenantry_app`);
    const { tenant: steps } = await migrator.steps();
    await withKnex(database, 'tenant_knexed', migrator.folder, async (knex) => {
      for (let n = 0; n < steps.length; n += 1) await knex.migrate.up();
    });
    const made = await contentOf(database, 'tenant_known');
    expect(made).toContainEqual(expect.stringMatching(/^column knex_migrations\.migration_time /));
    expect(made).toEqual(await contentOf(database, 'tenant_knexed'));
    expect(await knexRows(database, 'tenant_known')).toEqual(await knexRows(database, 'tenant_knexed'));
  });

  it('has nothing to do for knex, which goes down and up from there', async () => {
    const before = await contentOf(database, 'tenant_known');
    const { tenant: steps } = await migrator.steps();
    await withKnex(database, 'tenant_known', migrator.folder, async (knex) => {
      const [done, pending] = (await knex.migrate.list()) as [{ name: string }[], unknown[]];
      expect(done.map(({ name }) => name)).toEqual(steps);
      expect(pending).toEqual([]);
      expect(await knex.migrate.status()).toBe(0);
      expect(await knex.migrate.latest()).toEqual([steps.length, []]);
      expect(await knex.migrate.down()).toEqual([steps.length, [steps.at(-1)]]);
      expect(await knex.migrate.latest()).toEqual([steps.length, [steps.at(-1)]]);
    });
    expect(columnNumbersAside(await contentOf(database, 'tenant_known'))).toEqual(columnNumbersAside(before));
  });

  it('stands in the central ledger with sums and build, and is known to the data plane by its version', async () => {
    const scripts = await createLadder('tenant', migrator.folder).scripts();
    const rows = await ledgerOf('tenant_known');
    expect(rows).toEqual(
      scripts.map(({ step, checksum }) => ({
        ...{ migration: step, checksum, build, run: null, wave: null, attempts: 1 },
        duration_ms: expect.any(Number),
      })),
    );
    expect(rows.every(({ duration_ms: ms }) => ms >= 0 && ms < 60_000)).toBe(true);
    const versions = 'select version, needs from control.schema_versions where schema_name = $1';
    expect(await database.superuser(versions, ['tenant_known'])).toEqual([
      { version: scripts.at(-1)?.step, needs: null },
    ]);
  });

  it('stands there in the order of the steps, however many there are', async () => {
    const names = Array.from({ length: 30 }, (_, n) => `${9000 + n}_step`);
    const migrator = await migratorWith(Object.fromEntries(names.map((name) => [name, up('select 1')])));
    await migrator.inSchema(schemaName('tenant_many_steps'), async (work) => {
      await work.createSchema();
      await work.climb();
    });
    const rows = await database.superuser<{ migration: string }>(
      `select migration from control.migration_ledger where schema_name = 'tenant_many_steps' order by applied_at`,
    );
    expect(rows.map(({ migration }) => migration).slice(-names.length)).toEqual(names);
  });

  it('is climbed as ever when anything is in it', async () => {
    await migrator.inSchema(schemaName('tenant_furnished'), async (work) => {
      await work.createSchema();
      await (await work.session()).query('create table mine (id int)');
      expect(await work.climb()).toEqual((await migrator.steps()).tenant);
      expect(await work.climb()).toEqual([]);
    });
  });
});

/** A column that was taken away and added again has another number. */
function columnNumbersAside(lines: string[]): string[] {
  return lines.map((line) => line.replace(/ no\. \d+ /, ' ')).toSorted();
}

describe('steps of every kind, from nothing', () => {
  it('hold what the text of SQL can hold', async () => {
    const migrator = await migratorWith({
      '9001_several': up(
        `create table several (tags jsonb, word text default 'a;b?'); comment on table several is 'it''s; one -- two'`,
        `create index several_idx on several ((tags \\? 'x')) -- a comment that ends the text`,
        `create function answer() returns int language sql as $$ select 42; $$`,
      ),
      '9002_nothing': `export async function up() {}\n${down}`,
    });
    const steps = await make(migrator, 'tenant_texts');
    expect(steps).toEqual((await migrator.steps()).tenant);
    const [several] = await database.superuser(
      `select obj_description('tenant_texts.several'::regclass) as comment, tenant_texts.answer()`,
    );
    expect(several).toEqual({ comment: `it's; one -- two`, answer: 42 });
    expect((await contentOf(database, 'tenant_texts')).join('\n')).toContain(`((tags ? 'x'::text))`);
  });

  it('that build indexes concurrently build them in the transaction, since nobody is there', async () => {
    const migrator = await migratorWith({
      '9001_concurrent': `export const config = { transaction: false };
        ${up(
          '-- for the sake of others\n create index concurrently if not exists products_stock_idx on products (stock)',
          '/* these, too */ CREATE UNIQUE INDEX  CONCURRENTLY one_idx on users (tenant_id, name) where deleted_at is null',
          'drop index concurrently one_idx',
          'vacuum analyze products',
          'reindex index concurrently products_stock_idx',
          `comment on index products_stock_idx is 'create index concurrently'`,
        )}`,
    });
    expect(await make(migrator, 'tenant_concurrent')).toContain('9001_concurrent');
    const indexes = (await contentOf(database, 'tenant_concurrent')).filter((line) =>
      /stock_idx|one_idx/.test(line),
    );
    expect(indexes).toContain(
      'index CREATE INDEX products_stock_idx ON products USING btree (stock) valid=t',
    );
    expect(indexes.join('\n')).not.toContain('one_idx');
  });

  it('that ask the database, or have values of their own, are left to knex, with all that follow', async () => {
    const migrator = await migratorWith({
      '9001_before': up('create table before (id int)'),
      '9002_asks': asking('create table asked (id int)'),
      '9003_after': up('create table after (id int)'),
      '9004_values': `export async function up(knex) { await knex('after').insert({ id: 7 }); }\n${down}`,
    });
    const steps = await make(migrator, 'tenant_asked');
    const { tenant: all } = await migrator.steps();
    expect(steps).toEqual(all);
    const knexed = await knexRows(database, 'tenant_asked');
    expect(knexed.steps).toEqual(
      all.map((name, index) => ({ id: index + 1, name, batch: index + 1, timed: true })),
    );
    expect((await ledgerOf('tenant_asked')).map(({ migration }) => migration)).toEqual(all);
    expect(await database.superuser('select id from tenant_asked.after')).toEqual([{ id: 7 }]);
  });

  it('tell older builds what they must know', async () => {
    const contract = 'export const contract = true;';
    const migrator = await migratorWith({
      '9001_narrower': `${contract} ${up('alter table products drop column description')}`,
      '9002_wider': up('alter table products add column colour text'),
    });
    await make(migrator, 'tenant_narrow');
    const versions = 'select version, needs from control.schema_versions where schema_name = $1';
    expect(await database.superuser(versions, ['tenant_narrow'])).toEqual([
      { version: '9002_wider', needs: '9001_narrower' },
    ]);
  });

  it('that fail leave nothing, and say which it was', async () => {
    const migrator = await migratorWith({
      '9001_good': up('create table good (id int)'),
      '9002_bad': up('create table bad (id int)', 'select no_such_function()'),
    });
    await expect(make(migrator, 'tenant_bad')).rejects.toThrow(/^9002_bad: .*no_such_function/);
    expect(await database.superuser(`select from pg_namespace where nspname = 'tenant_bad'`)).toEqual([]);
    expect(await ledgerOf('tenant_bad')).toEqual([]);
    const misspelt = await migratorWith({
      '9001_good': up('create table good (id int)'),
      '9002_misspelt': up('create table words (id int)', 'create tabel more (id int)'),
      '9003_after': up('create table after (id int)'),
    });
    await expect(make(misspelt, 'tenant_bad')).rejects.toThrow(
      /^9002_misspelt: syntax error at or near "tabel"/,
    );
  });
});
