import { afterEach, describe, expect, it } from '@jest/globals';
import { killChildren, knexProgram, repository, run, start } from '../support/child.ts';
import { stepsOf } from '../support/ladders.ts';
import { useDatabase } from '../support/database.ts';
import { useFolder } from '../support/folder.ts';

const folder = useFolder();
afterEach(killChildren);

const controlSteps = await stepsOf('control');
const tenantSteps = await stepsOf('tenant');
const newest = tenantSteps.at(-1) ?? '';

interface Tenant {
  id: string;
  slug: string;
  ownerPassword?: string;
}

/** `tenantry` on a database; JSON of stdout beside it. */
function commandsOn(database: ReturnType<typeof useDatabase>) {
  const env = () => ({ ...database.env(), BCRYPT_COST: '4' });
  const tenantry = (args: string, more: Record<string, string> = {}) =>
    run(args.split(' '), { env: { ...env(), ...more }, cwd: folder() });
  const json = async (args: string) => {
    const ended = await tenantry(`${args} --json`);
    return { ...ended, data: JSON.parse(ended.stdout) as unknown };
  };
  const knex = (args: string, more: Record<string, string> = {}) =>
    start(knexProgram, args.split(' '), { env: { ...env(), ...more }, cwd: repository }).ended();
  return { tenantry, json, knex };
}

describe('from an empty database to the demo', () => {
  const database = useDatabase({ empty: true });
  const { tenantry, json, knex } = commandsOn(database);

  it('status is pending with 3 before, done with 0 after, and plan says what up will do', async () => {
    const before = await json('migrate status');
    expect(before).toMatchObject({ code: 3, stderr: '', data: { schemas: 2, pending: 2 } });
    const plan = await json('migrate plan');
    expect(plan).toMatchObject({
      code: 0,
      data: {
        ...{ schemas: 2, pending: 2 },
        steps: [
          ...controlSteps.map((step) => ({ ladder: 'control', step, schemas: 1 })),
          ...tenantSteps.map((step) => ({ ladder: 'tenant', step, schemas: 1, how: 'transaction' })),
        ],
        waves: [{ name: 'control' }, { name: 'shared' }],
      },
    });
    const up = await tenantry('migrate up --json');
    const lines = up.stdout.trim().split('\n');
    const events = lines.map((line) => JSON.parse(line) as { type: string });
    expect(up.code).toBe(0);
    expect(events.map(({ type }) => type)).toEqual(['started', 'wave', 'schema', 'finished', 'report']);
    expect(events.at(-1)).toMatchObject({ status: 'succeeded', counts: { applied: 2, failed: 0 } });
    const [after, text, nothing] = await Promise.all([
      json('migrate status'),
      tenantry('migrate status'),
      tenantry('migrate plan'),
    ]);
    expect(after).toMatchObject({ code: 0, data: { pending: 0, outliers: [] } });
    expect(text.stdout).toContain(newest);
    expect(nothing.stdout).toBe('All 2 schemas are up to date.\n');
  });

  it('seed puts the demo in, and a second time changes nothing', async () => {
    const first = await tenantry('seed');
    expect(first).toMatchObject({ code: 0, stdout: 'seeded acme, globex\n' });
    const count = () =>
      database.superuser<{ n: number }>(
        `select (select count(*) from shared.products) + (select count(*) from shared.orders)
           + (select count(*) from tenant_globex.products) + (select count(*) from tenant_globex.orders) as n`,
      );
    const before = await count();
    expect((await tenantry('seed')).code).toBe(0);
    expect(await count()).toEqual(before);
  });

  it('plain knex tells the same truth about control, shared and one tenant', async () => {
    for (const [args, env, steps] of [
      ['migrate:status', {}, controlSteps],
      ['migrate:status --env shared', {}, tenantSteps],
      ['migrate:status --env tenant', { TENANT: 'globex' }, tenantSteps],
    ] as const) {
      const { code, stdout } = await knex(args, env);
      expect({ args, code }).toEqual({ args, code: 0 });
      expect(stdout).toContain(`Found ${steps.length} Completed Migration file/files.`);
      for (const step of steps) expect(stdout).toContain(step);
      expect(stdout).toContain('No Pending Migration files Found.');
    }
  });
});

describe('on a database that is migrated', () => {
  const database = useDatabase();
  const { tenantry, json } = commandsOn(database);

  it('tenants are made, listed and shown', async () => {
    const made = await json(
      'tenant create initech --name Initech --isolation schema --owner-email o@initech.test',
    );
    expect(made).toMatchObject({ code: 0, stderr: '', data: { slug: 'initech', isolation: 'schema' } });
    const { ownerPassword, ...tenant } = made.data as Tenant;
    expect(ownerPassword).toMatch(/^[\w-]{16}$/);
    const text = await tenantry(
      'tenant create umbrella --owner-email o@umbrella.test --owner-password given-by-hand',
    );
    expect(text).toMatchObject({ code: 0, stderr: '' });
    expect(text.stdout).toMatch(/^isolation +shared$/m);
    expect(text.stdout).not.toContain('given-by-hand');

    const [list, table, bySlug, byId, again, unknown] = await Promise.all([
      json('tenant list'),
      tenantry('tenant list'),
      json('tenant show initech'),
      json(`tenant show ${tenant.id}`),
      tenantry('tenant create initech --owner-email o@initech.test'),
      tenantry('tenant show nobody'),
    ]);
    expect(list.data).toMatchObject([{ slug: 'initech' }, { slug: 'umbrella' }]);
    expect(table.stdout.split('\n')).toHaveLength(4);
    expect(bySlug.data).toEqual(tenant);
    expect(byId.data).toEqual(tenant);
    expect(again).toMatchObject({ code: 1, stdout: '' });
    expect(again.stderr).toContain('slug');
    expect(unknown).toEqual({ code: 1, stdout: '', stderr: 'There is no tenant nobody.\n' });
  });

  it('the doctor finds nothing wrong, and says what it does where it does', async () => {
    const good = await json('doctor');
    expect(good.code).toBe(0);
    const findings = good.data as { check: string; verdict: string }[];
    expect(findings.filter(({ verdict }) => verdict !== 'ok')).toEqual([]);
    expect(findings.map(({ check }) => check)).toEqual(
      expect.arrayContaining(['primary and role of DATABASE_URL', 'migrations', 'row level security']),
    );

    await database.superuser('alter table tenant_initech.products no force row level security');
    const superuser = await tenantry('doctor', {
      DATABASE_URL: String(database.env()['DATABASE_ADMIN_URL']),
    });
    expect(superuser.code).toBe(1);
    expect(superuser.stdout).toContain('can walk past row level security');
    expect(superuser.stdout).toMatch(
      /^fail +row level security +not so: .*tenant_initech\.products.*--rls$/m,
    );
    await database.superuser('alter table tenant_initech.products force row level security');
  });

  it('the doctor names everything that could let one tenant see another, and what to do', async () => {
    interface Finding {
      check: string;
      verdict: string;
      detail: string;
      found: string[];
    }
    const good = await json('doctor --rls');
    expect(good).toMatchObject({ code: 0, stderr: '' });
    expect((good.data as Finding[]).filter(({ verdict }) => verdict !== 'ok')).toEqual([]);

    await database.superuser(`
      alter policy tenant_isolation on shared.orders using (true);
      alter table tenant_initech.products disable row level security;
      grant delete on shared.users to tenantry_app;
      create view public.all_products as select * from shared.products;`);
    const [bad, text] = await Promise.all([json('doctor --rls'), tenantry('doctor --rls')]);
    await database.superuser(`
      alter policy tenant_isolation on shared.orders
        using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
      alter table tenant_initech.products enable row level security;
      revoke delete on shared.users from tenantry_app;
      drop view public.all_products;`);
    expect([bad.code, text.code]).toEqual([1, 1]);
    const failed = (bad.data as Finding[]).filter(({ verdict }) => verdict === 'fail');
    expect(failed.map(({ found }) => found)).toEqual([
      ['tenant_initech.products'],
      ['shared.orders'],
      ['shared.users'],
      ['public.all_products'],
    ]);
    for (const { check, detail } of failed) {
      expect(text.stdout).toContain(`${check}  `);
      expect(text.stdout).toContain(detail);
    }
    expect(text.stdout).toMatch(/^fail .*shared\.orders: its policy is not \(tenant_id = /m);
    expect((await json('doctor --rls')).code).toBe(0);
  });

  it('the doctor cannot tell without the owner, and says so', async () => {
    const { code, stdout, stderr } = await tenantry('doctor --rls', { DATABASE_ADMIN_URL: '' });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('DATABASE_ADMIN_URL');
  });

  it('up with a tenant that fails ends with 4, names it on stderr and in the report, and moves the others', async () => {
    await database.superuser(
      `insert into control.tenants (id, slug, name, isolation, schema_name, status)
       select gen_random_uuid(), slug, slug, 'schema', 'tenant_' || slug, 'active' from unnest($1::text[]) slug`,
      [['adopted', 'blocked']],
    );
    await database.superuser('create schema tenant_blocked authorization tenantry_owner');
    await database.superuser('create table tenant_blocked.orders (mine text)');
    const text = await tenantry('migrate up --parallel 1');
    expect(text.code).toBe(4);
    expect(text.stderr).toMatch(/^tenant_blocked: .*"orders" already exists$/m);
    expect(text.stdout).toMatch(/^tenant_adopted +applied/m);
    expect(text.stdout).toMatch(/^tenant_blocked +failed/m);
    expect(text.stdout).toContain('1 applied, 3 up to date, 1 failed, 0 skipped');

    const still = await json('migrate status');
    expect(still.code).toBe(3);
    expect(still.data).toMatchObject({ outliers: [{ schema: 'tenant_blocked', pending: tenantSteps }] });
    await database.superuser('drop table tenant_blocked.orders');
    const mended = await tenantry('migrate up --json');
    expect(mended).toMatchObject({ code: 0, stderr: '' });
    const report = JSON.parse(mended.stdout.trim().split('\n').at(-1) ?? '') as object;
    expect(report).toMatchObject({ counts: { applied: 1, 'up-to-date': 4 } });
  });
});
