import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { pino } from 'pino';
import { build } from '../../src/build.ts';
import { withConnection } from '../support/connection.ts';
import { testPostgres, useDatabase } from '../support/database.ts';
import { sqlStateOf } from '../support/outcome.ts';
import { testConfig, useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
const service = useTenantry(database);

/** Roles belong to the whole server, so their names carry the process. */
const suffix = `${process.pid}_${process.env['JEST_WORKER_ID'] ?? '0'}`;
const bypasser = `bypasser_${suffix}`;
const member = `member_${suffix}`;
const wouldBeMember = `would_be_member_${suffix}`;
const wouldBeBypasser = `would_be_bypasser_${suffix}`;
const rolePassword = 'role of tests';

beforeAll(async () => {
  await service.onboard('roles', 'schema');
  const login = `login password '${rolePassword}'`;
  await database.superuser(`
    create role ${bypasser} ${login} bypassrls;
    create role ${member} ${login}; grant tenantry_owner to ${member};
    create role ${wouldBeMember} ${login} noinherit; grant tenantry_owner to ${wouldBeMember};
    create role ${wouldBeBypasser} ${login}; grant ${bypasser} to ${wouldBeBypasser};`);
  for (const role of [bypasser, member, wouldBeMember, wouldBeBypasser]) {
    await database.superuser(`do $$ begin
      execute format('grant connect on database %I to ${role}', current_database()); end $$`);
  }
});

afterAll(async () => {
  // The database, with what was granted on it, is gone by now.
  await withConnection(testPostgres().primaryUrl, (client) =>
    client.query(`drop role ${wouldBeBypasser}, ${wouldBeMember}, ${member}, ${bypasser}`),
  );
});

const ownerUrl = () => database.env()['DATABASE_ADMIN_URL'] ?? '';

function as(role: string): string {
  const url = new URL(ownerUrl());
  url.username = role;
  url.password = rolePassword;
  return url.href;
}

async function start(env: Record<string, string>): Promise<void> {
  const tenantry = build(testConfig(database, env), { logger: pino({ level: 'silent' }) });
  try {
    await tenantry.start();
  } finally {
    await tenantry.stop();
  }
}

describe('a process that serves tenants', () => {
  it('starts as tenantry_app, be there ten connections or one', async () => {
    await start({});
    await start({ DATABASE_POOL_MAX: '1' });
  });

  it.each([
    ['a superuser', () => database.superuserUrl(), /is a superuser/],
    ['tenantry_owner', ownerUrl, /tenantry_owner owns/],
    ['a role with BYPASSRLS', () => as(bypasser), /has BYPASSRLS/],
    ['a member of the owner', () => as(member), /belongs to a role that owns/],
    ['a role that may become the owner', () => as(wouldBeMember), /belongs to a role that owns/],
    ['a role that may become one with BYPASSRLS', () => as(wouldBeBypasser), /has BYPASSRLS/],
  ])('refuses to start as %s, and says why', async (_role, url, why) => {
    await expect(start({ DATABASE_URL: url() })).rejects.toThrow(why);
    await expect(start({ DATABASE_URL: url() })).rejects.toThrow(
      /walk past row level security.*tenantry_app/,
    );
  });

  it('refuses to read from a replica as a superuser', async () => {
    const { replicaUrls } = testPostgres();
    const urls = replicaUrls.map((replica) => {
      const url = new URL(replica);
      url.pathname = new URL(ownerUrl()).pathname;
      return url.href;
    });
    if (urls.length === 0) return;
    await expect(start({ DATABASE_REPLICA_URLS: urls.join(',') })).rejects.toThrow(/is a superuser/);
  });
});

describe('tenantry_app', () => {
  const notAllowed = '42501';

  it('reads the view tenant_directory, and the epochs of its tenants', async () => {
    const rows = await database.app(`select slug from control.tenant_directory where slug = 'roles'`);
    expect(rows).toEqual([{ slug: 'roles' }]);
    expect(await database.app('select slug from control.tenant_epochs')).toEqual(rows);
  });

  it('reads the view tenant_limits, in which tenants without limits are not', async () => {
    await service.onboard('roles_limited', 'shared', { users: 3 });
    const rows = await database.app(
      'select slug, limits from control.tenant_directory join control.tenant_limits using (id)',
    );
    expect(rows).toEqual([{ slug: 'roles_limited', limits: { users: 3 } }]);
  });

  it('reads nothing else of the control plane, and no ledger of migrations', async () => {
    const tables = await database.superuser<{ place: string }>(`
      select format('%I.%I', n.nspname, c.relname) as place
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'v', 'm', 'p', 'f', 'S')
        and (n.nspname in ('control', 'public') or c.relname ~ '^knex_')
        and not (n.nspname = 'control'
          and c.relname in
            ('tenant_directory', 'tenant_epochs', 'tenant_limits', 'tenant_versions', 'revocations'))`);
    const places = tables.map((table) => table.place);
    expect(places).toEqual(
      expect.arrayContaining(['control.tenants', 'control.operators', 'control.audit_events']),
    );
    for (const place of places) {
      expect([place, await sqlStateOf(() => database.app(`select * from ${place}`))]).toEqual([
        place,
        notAllowed,
      ]);
    }
  });

  it.each([
    `insert into control.tenant_directory (id) values (gen_random_uuid())`,
    `update control.tenant_directory set status = 'suspended'`,
    `update control.tenants set status = 'suspended'`,
    `delete from control.revocations`,
    `insert into control.revocations values (gen_random_uuid(), gen_random_uuid(), 9, now())`,
    `insert into control.audit_events (tenant, action, resource, actor_kind, actor_id)
       values (gen_random_uuid(), 'x', 'x', 'operator', 'x')`,
    `insert into control.audit_events (action, resource, actor_kind, actor_id) values ('x', 'x', 'operator', 'x')`,
    `update shared.audit_events set action = 'x'`,
    `delete from shared.audit_events`,
    `create schema own`,
    `create table public.own (id int)`,
    `create table shared.own (id int)`,
    `create table control.own (id int)`,
    `create table tenant_roles.own (id int)`,
    `create temp table own (id int)`,
    `create function shared.own() returns int language sql as 'select 1'`,
    `create extension pg_trgm`,
    `alter table shared.products disable row level security`,
    `alter table shared.products no force row level security`,
    `drop policy tenant_isolation on shared.products`,
    `create policy own on shared.products using (true)`,
    `alter table shared.products drop column tenant_id`,
    `drop table shared.products`,
    `truncate shared.products`,
    `delete from shared.products`,
    `set row_security = off; select * from shared.products`,
    `set role tenantry_owner`,
    `set session authorization tenantry_owner`,
    `alter role tenantry_app bypassrls`,
    `grant tenantry_owner to tenantry_app`,
    `create role own`,
    `select pg_read_file('postgresql.conf')`,
    `copy shared.products to program 'cat'`,
  ])('may not: %s', async (statement) => {
    expect(await sqlStateOf(() => database.app(statement))).toBe(notAllowed);
  });

  it('may not do so within the scope of a tenant either', async () => {
    await withConnection(database.env()['DATABASE_URL'] ?? '', async (client) => {
      const [row] = await database.superuser<{ id: string }>(
        `select id from control.tenants where slug = 'roles'`,
      );
      await client.query(`select set_config('app.tenant_id', $1, false)`, [row?.id]);
      for (const statement of ['delete from tenant_roles.users', 'truncate tenant_roles.users']) {
        expect(await sqlStateOf(() => client.query(statement))).toBe(notAllowed);
      }
    });
  });
});
