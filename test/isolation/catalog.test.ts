import { beforeAll, describe, expect, it } from '@jest/globals';
import { controlGrants, databaseRules, isolationRules } from '../../src/control/isolation-rules.ts';
import { catalogOutline } from '../support/catalog.ts';
import { withConnection } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { useTenantry } from '../support/tenantry.ts';
import { withTurn } from '../support/warm.ts';
import { controlTables, tenantTables } from './registry.ts';

/** The rules are those of `tenantry doctor --rls`; each is seen broken below, and told by the command in cli/. */
const database = useDatabase();
const service = useTenantry(database, { env: { PROVISION_WARM: '1' } });
const ownSchema = 'tenant_catalog';
const givenSchema = 'tenant_given';
/** The one that waits for a tenant. */
const waiting = async () => {
  const [one] = await namesOf('select schema_name as name from control.warm_schemas');
  return one ?? 'none';
};
type Rule = keyof typeof isolationRules;
const rules = Object.keys(isolationRules) as Rule[];
type DatabaseRule = keyof typeof databaseRules;
const wholeRules = Object.keys(databaseRules) as DatabaseRule[];

beforeAll(async () => {
  await withTurn(database, () => service.onboard('catalog', 'schema'));
  await service.tenantry.control?.warm.tend();
  const oid = async (schema: string) =>
    namesOf('select oid::text as name from pg_namespace where nspname = $1', [schema]);
  const before = await oid(await waiting());
  await service.onboard('given', 'schema');
  expect(await oid(givenSchema)).toEqual(before);
  await service.tenantry.control?.warm.tend();
});

async function namesOf(query: string, values: unknown[] = []): Promise<string[]> {
  return (await database.superuser<{ name: string }>(query, values)).map((row) => row.name);
}
const broken = (rule: Rule, schema: string) => namesOf(isolationRules[rule].query, [schema]);

const places = {
  shared: () => 'shared',
  'of a tenant': () => ownSchema,
  'that a tenant was given': () => givenSchema,
  'that waits for a tenant': waiting,
};

describe.each(Object.entries(places))('in the schema %s', (_place, schema) => {
  it.each(rules)('%s', async (rule) => {
    expect(await broken(rule, await schema())).toEqual([]);
  });

  it('every table stands in the registry, from which the other tests are made', async () => {
    expect(await tablesOf(await schema())).toEqual(Object.keys(tenantTables).toSorted());
  });
});

describe('in the whole database', () => {
  it.each(wholeRules)('%s', async (rule) => {
    expect(await namesOf(databaseRules[rule].query)).toEqual([]);
  });

  it('every table of the control plane stands in the registry', async () => {
    expect(await tablesOf('control')).toEqual(Object.keys(controlTables).toSorted());
  });

  it('the data plane has the rights in the control plane that it was given, and no others', async () => {
    const held = await namesOf(`
      select format('%s.%s %s', n.nspname, c.relname, a.privilege_type) as name
      from pg_class c join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'control', aclexplode(c.relacl) a
      where a.grantee <> c.relowner order by 1`);
    const given = Object.entries(controlGrants).flatMap(([name, rights]) =>
      rights.map((right) => `${name} ${right}`),
    );
    expect(held).toEqual(given.toSorted());
  });
});

function tablesOf(schema: string): Promise<string[]> {
  return namesOf(
    `select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and c.relkind in ('r', 'p', 'f') and c.relname !~ '^knex_' order by c.relname collate "C"`,
    [schema],
  );
}

it('the schema of a tenant has the tables, columns, indexes, constraints, policies and rights of shared', async () => {
  const outline = async (schema: string) =>
    (await database.superuser<{ line: string }>(catalogOutline, [schema])).map((row) => row.line);
  const shared = await outline('shared');
  expect(shared.filter((line) => line.startsWith('column products.')).length).toBeGreaterThan(5);
  expect(await outline(ownSchema)).toEqual(shared);
  expect(await outline(givenSchema)).toEqual(shared);
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

  const faults: Record<Rule, string[]> = {
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
    'every id of another row is a foreign key': ['alter table faulty add product_id uuid'],
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
      policy(`tenant_id = current_setting('app.tenant_id', true)::uuid`),
    ],
    'tenantry_owner owns the table': ['alter table faulty owner to tenantry_app'],
    'tenantry_app selects, inserts and, but for events, may update, and nothing else': [
      'revoke insert on faulty from tenantry_app',
      'grant delete on faulty to tenantry_app',
      'grant truncate on faulty to tenantry_app',
      'grant references on faulty to tenantry_app',
      'grant select on faulty to tenantry_app with grant option',
    ],
    'nobody else has rights on the table': [
      'grant select on faulty to public',
      'grant select (name) on faulty to public',
    ],
    'no view, materialized view or sequence hands rows on with the rights of the owner': [
      'create view faulty_view as select * from faulty',
      'create view faulty_view with (security_invoker = off) as select * from faulty',
      'create materialized view faulty_view as select * from faulty',
    ],
    'no function runs with the rights of its owner': [
      `create function faulty_count() returns bigint security definer
         begin atomic select count(*) from faulty; end`,
    ],
    'the application makes nothing in the schema': [],
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

  /** Of the whole database. Undone with the transaction, since roles belong to all databases of the server. */
  const wholeFaults: [rule: DatabaseRule | Rule, fault: string, names: string][] = [
    ['the roles are bound by row level security', 'alter role tenantry_app bypassrls', 'tenantry_app'],
    ['the roles are bound by row level security', 'alter role tenantry_app superuser', 'tenantry_app'],
    ['the roles are bound by row level security', 'alter role tenantry_owner bypassrls', 'tenantry_owner'],
    [
      'the roles are bound by row level security',
      'create role faulty bypassrls; grant faulty to tenantry_app',
      'tenantry_app',
    ],
    ['tenantry_app belongs to no role', 'grant tenantry_owner to tenantry_app', 'tenantry_owner'],
    ['tenantry_app owns nothing', 'create schema faulty authorization tenantry_app', 'schema faulty'],
    [
      'tenantry_app owns nothing',
      'create table control.faulty (); alter table control.faulty owner to tenantry_app',
      'table control.faulty',
    ],
    [
      'tenantry_app has no rights outside of tenant schemas but those it needs',
      'grant select on control.operators to tenantry_app',
      'control.operators',
    ],
    [
      'tenantry_app has no rights outside of tenant schemas but those it needs',
      'grant update on control.tenant_directory to public',
      'control.tenant_directory',
    ],
    [
      'tenantry_app does not come to schemas that wait for a tenant',
      'create schema warm_faulty; grant usage on schema warm_faulty to tenantry_app',
      'warm_faulty',
    ],
    [
      'row level security is enabled and forced',
      'create schema warm_faulty; create table warm_faulty.products (id int)',
      'warm_faulty.products',
    ],
    [
      'no view outside of tenant schemas shows rows of tenants',
      'create view public.faulty as select * from shared.products',
      'public.faulty',
    ],
    [
      'tenantry_app calls no function that runs as its owner',
      `create function public.faulty() returns bigint security definer
         begin atomic select count(*) from shared.products; end`,
      'public.faulty',
    ],
    [
      'tenantry_app selects, inserts and, but for events, may update, and nothing else',
      'grant update on shared.audit_events to tenantry_app',
      'shared.audit_events',
    ],
    [
      'the application makes nothing in the schema',
      `grant create on schema ${ownSchema} to tenantry_app`,
      ownSchema,
    ],
  ];

  it.each(wholeFaults)('knows that "%s" is broken by: %s', async (rule, fault, name) => {
    await withConnection(database.superuserUrl(), async (client) => {
      await client.query(`begin; ${fault}`);
      const { query, values } =
        rule in isolationRules
          ? { query: isolationRules[rule as Rule].query, values: [null] }
          : { query: databaseRules[rule as DatabaseRule].query, values: [] };
      const { rows } = await client.query<{ name: string }>(query, values);
      expect(rows.map((row) => row.name)).toContain(name);
      await client.query('rollback');
    });
  });

  it('has a fault for every rule', () => {
    const tried = [...rules.filter((rule) => faults[rule].length > 0), ...wholeFaults.map(([rule]) => rule)];
    expect([...new Set(tried)].toSorted()).toEqual([...rules, ...wholeRules].toSorted());
  });

  it.each(rules.flatMap((rule) => faults[rule].map((fault) => ({ rule, fault }))))(
    'knows that "$rule" is broken by: $fault',
    async ({ rule, fault }) => {
      const found = await brokenWith(fault, () => broken(rule, ownSchema));
      expect(found).toEqual([expect.stringContaining('faulty')]);
    },
  );
});
