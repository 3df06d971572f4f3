import { afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { built, type Child, killChildren, repository, start } from '../support/child.ts';
import { beforeDrop, useDatabase } from '../support/database.ts';
import { slugs, useFleet } from '../support/fleet.ts';
import { until } from '../support/until.ts';
import { createRandom } from '../history/random.ts';

jest.setTimeout(600_000);

const seed = Number(process.env['TEST_SEED'] ?? Date.now() % 1_000_000);
const random = createRandom(seed);
const database = useDatabase();
const fleet = useFleet(database);
/** The same ladders for programs that are compiled. */
let compiled = '';
const tenants = Number(process.env['TEST_TENANTS'] ?? 40);
const kills = Number(process.env['TEST_KILLS'] ?? 5);

beforeAll(async () => {
  compiled = await mkdtemp(path.join(os.tmpdir(), 'tenantry-ladders-'));
  await cp(path.dirname(built('migrations/tenant-table.ts')), compiled, { recursive: true });
  await writeFile(path.join(compiled, 'package.json'), '{"type":"module"}\n');
  beforeDrop(database, () => rm(compiled, { recursive: true, force: true }));
  for (const slug of slugs(tenants)) await fleet.onboard(slug);
});
afterEach(killChildren);

async function addStep(name: string, up: string, more = ''): Promise<void> {
  await fleet.addFile('tenant', name, { up, more });
  await writeFile(
    path.join(compiled, 'tenant', `${name}.js`),
    `export async function up(knex) { await knex.raw(${JSON.stringify(up)}); }\nexport async function down() {}\n${more}\n`,
  );
}

const runner = (): Child =>
  start(built('test/support/migrate-process.ts'), [compiled], { cwd: repository, env: database.env() });

interface Line {
  type: string;
  status?: string;
  error?: string;
  counts?: Record<string, number>;
}
const linesOf = (child: Child) =>
  child
    .stdout()
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line);

/** What a run may leave nowhere. */
const remains = () =>
  database.superuser(`
    select 'an invalid index' as what, indexrelid::regclass::text as which from pg_index where not indisvalid
    union all select 'a lease', holder from control.migration_lease
    union all select 'a failure', schema_name || ' ' || error from control.migration_failures
    union all select 'a lock of knex', schema_name from control.schema_versions
      where query_to_xml(format('select from %I.knex_migrations_lock where is_locked <> 0', schema_name),
        true, true, '')::text <> ''
    union all select 'a session', application_name from pg_stat_activity
      where application_name like 'tenantry-migrate %' and datname = current_database()
    union all select 'an advisory lock', objid::text from pg_locks
      where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`);

describe(`a runner of ${tenants} tenants that is killed at ${kills} moments (TEST_SEED=${seed})`, () => {
  it('is followed by one that completes what it has begun; ledgers and schemas agree, and nothing is left', async () => {
    let killed = 0;
    for (let round = 1; round <= kills; round += 1) {
      const number = String(9000 + 2 * round);
      const [column, index] = [`${number}_column`, `${Number(number) + 1}_index`];
      await addStep(
        column,
        `create table kept_${round} (id int); alter table products add column c_${round} int not null default 0`,
      );
      await addStep(
        index,
        `create index concurrently products_c_${round}_idx on products (tenant_id, c_${round})`,
        `export const config = { transaction: false };\nexport const allow = { 'tenant-table': 'for this test' };`,
      );
      const victim = runner();
      const after = random.between(0, 2 * tenants);
      await until(
        () =>
          victim.code() !== undefined ||
          linesOf(victim).filter(({ type }) => type === 'schema' || type === 'started').length > after / 2,
        `moment ${round}: ${victim.stderr()}`,
        60_000,
      );
      await new Promise((resolve) => setTimeout(resolve, random.between(0, 30)));
      if (victim.code() === undefined) killed += 1;
      victim.kill('SIGKILL');
      await victim.ended();

      const next = runner();
      await until(() => next.code() !== undefined, `the next run: ${next.stderr()}`, 60_000);
      expect({ round, last: linesOf(next).at(-1) }).toMatchObject({
        round,
        last: { type: 'report', status: 'succeeded' },
      });
      await until(async () => (await remains()).length === 0, 'nothing to be left').catch(() => undefined);
      expect(await remains()).toEqual([]);
      expect([await fleet.at(column), await fleet.at(index)]).toEqual([tenants + 1, tenants + 1]);
    }
    expect(killed).toBeGreaterThan(kills / 2);
    expect(await fleet.ledger()).toEqual(await fleet.knexLedgers());
    const shapes = await database.superuser<{ columns: number; indexes: number; tables: number }>(
      `select distinct (select count(*)::int from pg_attribute a join pg_class c on c.oid = a.attrelid
           where c.relnamespace = n.oid and c.relname = 'products' and attname like 'c\\_%') as columns,
         (select count(*)::int from pg_class c where c.relnamespace = n.oid and c.relname like 'products\\_c\\_%\\_idx'
           and c.relname !~ 'created') as indexes,
         (select count(*)::int from pg_class c where c.relnamespace = n.oid and c.relname like 'kept\\_%') as tables
       from pg_namespace n where n.nspname ~ '^(tenant_|shared$)'`,
    );
    expect(shapes).toEqual([{ columns: kills, indexes: kills, tables: kills }]);
    const checksums = await database.superuser(
      `select migration from control.migration_ledger where schema_name <> 'control'
       group by 1 having count(distinct coalesce(checksum, '')) > 1`,
    );
    expect(checksums).toEqual([]);
  });
});

describe('two runners at once', () => {
  it('one migrates, the other is told who it is', async () => {
    await addStep('9100_both', 'alter table products add column both_ran int');
    const children = [runner(), runner()];
    await until(() => children.every((child) => child.code() !== undefined), 'both to end', 60_000);
    const last = children.map((child) => linesOf(child).at(-1));
    const winner = last.find((line) => line?.type === 'report' && (line.counts?.['applied'] ?? 0) > 0);
    expect(winner).toMatchObject({ status: 'succeeded', counts: { applied: tenants + 1, failed: 0 } });
    const other = last.find((line) => line !== winner);
    // Who comes a moment later finds either the lease held or nothing to do.
    if (other?.type === 'refused')
      expect(other.error).toMatch(/^Run [\da-f-]{36} holds the lease: .* pid \d+/);
    else expect(other).toMatchObject({ status: 'succeeded', counts: { applied: 0, failed: 0 } });
    expect(await remains()).toEqual([]);
  });
});
