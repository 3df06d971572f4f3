import { beforeAll, describe, expect, it, jest } from '@jest/globals';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeDrop, useDatabase } from '../support/database.ts';
import { useFleet } from '../support/fleet.ts';
import { startTenantry, type TestTenant, type TestTenantry } from '../support/tenantry.ts';
import { type Traffic, underTraffic } from '../support/traffic.ts';

jest.setTimeout(200_000);

/** Three releases over one fleet, while all of it is used: one expands it, one fills what is new, one contracts it. */
const database = useDatabase();
const fleet = useFleet(database);
type Build = Awaited<ReturnType<typeof fleet.older>>;
const builds: Record<'first' | 'second' | 'third', Build> = {} as never;
const serving: Record<'first' | 'second' | 'third', TestTenantry> = {} as never;
let tenants: TestTenant[] = [];

const expand = `await knex.raw('alter table products add column colour text, add column old_colour text');`;
const contract = `await knex.raw('alter table products drop column old_colour');`;
const step = (body: string, more = '') =>
  `export async function up(knex) { ${body} }\nexport async function down() {}\n${more}\n`;

async function release(name: keyof typeof builds, steps: Record<string, string>): Promise<void> {
  const build = await fleet.older();
  for (const [file, text] of Object.entries(steps)) {
    await writeFile(path.join(build.folder, 'tenant', `${file}.ts`), text);
  }
  builds[name] = build;
  const service = await startTenantry(database, { overrides: { migrationsFolder: build.folder } });
  serving[name] = service;
  beforeDrop(database, () => service.tenantry.stop());
}

beforeAll(async () => {
  const one = { '9001_expand': step(expand) };
  const two = {
    ...one,
    '9002_fill': step(
      '',
      `export const backfill = { table: 'products', set: "colour = 'red'", where: 'colour is null' };`,
    ),
    '9003_index': step(
      `await knex.raw('create index concurrently products_colour_idx on products (tenant_id, colour)');`,
      'export const config = { transaction: false };',
    ),
    '9004_contract': step(contract, 'export const contract = true;'),
  };
  await release('first', {});
  tenants = [await serving.first.onboard('own', 'schema'), await serving.first.onboard('common', 'shared')];
  await release('second', one);
  await release('third', two);
});

/** All tenants, by all of these builds, as fast as they are answered. */
async function used(
  names: readonly (keyof typeof builds)[],
  fn: (traffics: Traffic[]) => Promise<void>,
): Promise<Traffic[]> {
  const pairs = names.flatMap((name) => tenants.map((tenant) => ({ service: serving[name], tenant })));
  const done: Traffic[] = [];
  const begin = async (index: number, traffics: Traffic[]): Promise<void> => {
    const pair = pairs[index];
    if (pair === undefined) return fn(traffics);
    const last = names.at(-1) ?? 'first';
    done.push(
      await underTraffic(
        pair.service,
        pair.tenant,
        (traffic) => begin(index + 1, [...traffics, traffic]),
        serving[last],
      ),
    );
  };
  await begin(0, []);
  return done.toReversed();
}

async function busy(traffics: readonly Traffic[]): Promise<void> {
  await Promise.all(traffics.map((traffic) => traffic.more('own read 200', 5)));
}
const kinds = (traffic: Traffic) => Object.keys(traffic.answers).toSorted();
const well = ['own read 200', 'read 200', 'write 201'];

describe('a rolling deploy', () => {
  it('expand: the first build serves while the second one migrates, and then both do', async () => {
    const traffics = await used(['first'], async (all) => {
      await busy(all);
      const report = await builds.second.control.runner.up();
      expect(report.counts).toMatchObject({ applied: 2, failed: 0 });
      await busy(all);
    });
    for (const traffic of traffics) expect(kinds(traffic)).toEqual(well);
    for (const traffic of await used(['first', 'second'], busy)) expect(kinds(traffic)).toEqual(well);
  });

  it('contract: the third build serves all the time; one that does not know the step refuses, and never fails', async () => {
    const traffics = await used(['second', 'third'], async (all) => {
      await busy(all);
      const report = await builds.third.control.runner.up();
      expect(report.counts).toMatchObject({ applied: 2, failed: 0 });
      await busy(all.slice(tenants.length));
    });
    const [second, third] = [traffics.slice(0, tenants.length), traffics.slice(tenants.length)];
    for (const traffic of third) expect(kinds(traffic)).toEqual(well);
    for (const traffic of second) {
      expect(
        kinds(traffic).filter((kind) => !well.includes(kind) && !kind.endsWith(' 503 tenant_migrating')),
      ).toEqual([]);
      expect(kinds(traffic).some((kind) => kind.endsWith(' 503 tenant_migrating'))).toBe(true);
    }
    // Not one write that was acknowledged is lost, and all have the new column.
    const written = traffics.flatMap((traffic) => traffic.written).length;
    const rows = async (schema: string) =>
      database.superuser<{ colour: string | null; n: number }>(
        `select colour, count(*)::int as n from ${schema}.products where sku like '%-%' group by 1`,
      );
    const all = (await Promise.all(['shared', 'tenant_own'].map(rows))).flat();
    expect(all.reduce((sum, { n }) => sum + n, 0)).toBeGreaterThanOrEqual(written);
    expect(await fleet.ledger()).toEqual(await fleet.knexLedgers());
  });
});
