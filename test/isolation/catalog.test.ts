import { beforeAll, describe, expect, it } from '@jest/globals';
import { catalogOutline, type CatalogRule, catalogRules } from '../support/catalog.ts';
import { useDatabase } from '../support/database.ts';
import { useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
const service = useTenantry(database);
const ownSchema = 'tenant_catalog';
const rules = Object.keys(catalogRules) as CatalogRule[];

beforeAll(async () => {
  await service.onboard('catalog', 'schema');
});

async function broken(rule: CatalogRule, schema: string): Promise<string[]> {
  const rows = await database.superuser<{ name: string }>(catalogRules[rule], [schema]);
  return rows.map((row) => row.name);
}

describe.each(['shared', ownSchema])('in the schema %s', (schema) => {
  it.each(rules)('%s', async (rule) => {
    expect(await broken(rule, schema)).toEqual([]);
  });
});

it('the schema of a tenant has the tables, columns, indexes, constraints, policies and rights of shared', async () => {
  const outline = async (schema: string) =>
    (await database.superuser<{ line: string }>(catalogOutline, [schema])).map((row) => row.line);
  const shared = await outline('shared');
  expect(shared.filter((line) => line.startsWith('column products.')).length).toBeGreaterThan(5);
  expect(await outline(ownSchema)).toEqual(shared);
});

it('tenantry_app owns nothing at all', async () => {
  const owned = await database.superuser(`
    select objid from pg_shdepend where refobjid = 'tenantry_app'::regrole and deptype = 'o'
      and dbid in (0, (select oid from pg_database where datname = current_database()))`);
  expect(owned).toEqual([]);
});

describe('the check itself', () => {
  const setting = `nullif(current_setting('app.tenant_id', true), '')`;
  /** A table as good as any other, until one of the faults below is put into it. */
  const good = `
    set search_path = ${ownSchema};
    create table faulty (like products including all);
    alter table faulty owner to tenantry_owner;
    alter table faulty enable row level security;
    alter table faulty force row level security;
    create policy tenant_isolation on faulty
      using (tenant_id = ${setting}::uuid) with check (tenant_id = ${setting}::uuid);
    grant select, insert, update on faulty to tenantry_app;`;

  const policy = (using: string, check: string = using) =>
    `alter policy tenant_isolation on faulty using (${using}) with check (${check})`;

  const faults: Record<CatalogRule, string[]> = {
    'tenant_id is a uuid and not null': [
      'alter table faulty drop constraint faulty_pkey, alter tenant_id drop not null',
    ],
    'the primary key is (tenant_id, id)': [
      'alter table faulty drop constraint faulty_pkey',
      'alter table faulty drop constraint faulty_pkey, add primary key (id, tenant_id)',
      'alter table faulty drop constraint faulty_pkey, add primary key (id)',
    ],
    'foreign keys are composite, lead with tenant_id and stay in the schema': [
      'alter table faulty add unique (id), add foreign key (id) references faulty (id)',
      'alter table faulty add foreign key (tenant_id, id) references shared.products (tenant_id, id)',
      `alter table faulty add unique (id, tenant_id),
         add foreign key (id, tenant_id) references faulty (id, tenant_id)`,
    ],
    'unique indexes lead with tenant_id and leave out deleted rows': [
      'create unique index on faulty (sku) where deleted_at is null',
      'create unique index on faulty (sku, tenant_id) where deleted_at is null',
      'create unique index on faulty (tenant_id, name)',
      `create unique index on faulty (tenant_id, name) where deleted_at is null and name <> ''`,
      'create unique index on faulty ((tenant_id::text), name) where deleted_at is null',
    ],
    'row level security is enabled and forced': [
      'alter table faulty disable row level security',
      'alter table faulty no force row level security',
    ],
    'the one policy is tenant_isolation, for every command and role': [
      'drop policy tenant_isolation on faulty',
      'create policy another on faulty using (true)',
      'alter policy tenant_isolation on faulty to tenantry_app',
      'alter policy tenant_isolation on faulty rename to something_else',
      `drop policy tenant_isolation on faulty;
         create policy tenant_isolation on faulty for select using (tenant_id = ${setting}::uuid)`,
    ],
    'the policy compares the bare column with the setting, reading and writing alike': [
      policy(`tenant_id = (select ${setting}::uuid)`),
      policy(`tenant_id::text = ${setting}`),
      policy(`tenant_id = ${setting}::uuid or deleted_at is null`),
      policy(`tenant_id = ${setting}::uuid`, 'true'),
      policy('true'),
    ],
    'tenantry_owner owns the table': ['alter table faulty owner to tenantry_app'],
    'tenantry_app selects, inserts and updates, and nothing else': [
      'revoke insert on faulty from tenantry_app',
      'grant delete on faulty to tenantry_app',
      'grant truncate on faulty to tenantry_app',
      'grant references on faulty to tenantry_app',
    ],
    'nobody else has rights on the table': ['grant select on faulty to public'],
    'no view, materialized view or sequence hands rows on with the rights of the owner': [
      'create view faulty_view as select * from faulty',
      'create materialized view faulty_view as select * from faulty',
    ],
    'no function runs with the rights of its owner': [
      `create function faulty_count() returns bigint security definer
         begin atomic select count(*) from faulty; end`,
    ],
  };

  /** Makes the table with a fault, asks, and takes it away again. */
  async function brokenWith(fault: string, ask: () => Promise<unknown>): Promise<unknown> {
    await database.superuser(`${good} ${fault}`);
    try {
      return await ask();
    } finally {
      await database.superuser(`drop table ${ownSchema}.faulty cascade`);
    }
  }

  it('finds nothing in a table without a fault', async () => {
    const found = await brokenWith('', async () => {
      const names: string[] = [];
      for (const rule of rules) names.push(...(await broken(rule, ownSchema)));
      return names;
    });
    expect(found).toEqual([]);
  });

  it.each(rules.flatMap((rule) => faults[rule].map((fault) => ({ rule, fault }))))(
    'knows that "$rule" is broken by: $fault',
    async ({ rule, fault }) => {
      const found = await brokenWith(fault, () => broken(rule, ownSchema));
      expect(found).toEqual([expect.stringContaining('faulty')]);
    },
  );
});
