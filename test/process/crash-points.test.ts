import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { built, type Child, killChildren, repository, start } from '../support/child.ts';
import { useDatabase } from '../support/database.ts';
import { createHoldings } from '../support/holdings.ts';
import { certificateOf, deleteLongAgo, ended, rowsByTable } from '../support/purging.ts';
import { expectSameRows, othersRows } from '../support/rows.ts';
import { password, startTenantry, testSecret, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';
import { settle } from '../support/warm.ts';

jest.setTimeout(60_000);

const database = useDatabase();
const service = useTenantry(database);
afterEach(killChildren);

const process = (step: string, ...args: string[]): Child => processWith({}, step, ...args);
const processWith = (env: Record<string, string>, step: string, ...args: string[]): Child =>
  start(built('test/support/step-process.ts'), [step, ...args], {
    cwd: repository,
    env: { ...database.env(), JWT_SECRET: testSecret, BCRYPT_COST: '4', ...env },
  });
const steps = (child: Child) => child.stdout().trim().split('\n');

/** Schemas that no tenant has and that wait for none, and the other way round; and ledgers of schemas that are not there. */
const orphans = (db = database) =>
  db.superuser(
    `select nspname, schema_name from (
       select nspname from pg_namespace where nspname like 'tenant\\_%' or nspname like 'warm\\_%') n
     full join (
       select schema_name from control.tenants where isolation = 'schema' and status <> 'purged'
       union all select schema_name from control.warm_schemas) t
       on nspname = schema_name
     where nspname is null or schema_name is null
     union all
     select null, schema_name from (
       select schema_name from control.migration_ledger union select schema_name from control.schema_versions) l
     where to_regnamespace(quote_ident(schema_name)) is null`,
  );

const input = (slug: string, isolation: 'shared' | 'schema') => ({
  slug,
  name: slug,
  isolation,
  owner: { email: 'owner@steps.test', password },
  limits: {},
});
const request = (slug: string) => ({ principal: 'o', route: 'POST /tenants', key: slug, digest: 'd' });

describe('making a tenant, killed after any of its steps', () => {
  const create = (step: string, slug: string, isolation: 'shared' | 'schema') => {
    const json = JSON.stringify({ input: input(slug, isolation), request: request(slug) });
    return process(step, 'create', json);
  };

  const all = {
    shared: ['create: the row is there', 'create: the owner is there', 'create: committed'],
    schema: [
      ...['create: the row is there', 'create: the schema is there', 'create: the schema is migrated'],
      ...['create: the owner is there', 'create: committed'],
    ],
  };

  it.each(['shared', 'schema'] as const)('has these steps, isolation %s', async (isolation) => {
    const child = create('none', `steps-${isolation}`, isolation);
    expect((await child.ended()).code).toBe(0);
    expect(steps(child)).toEqual(all[isolation]);
  });

  const cases = (['shared', 'schema'] as const).flatMap((isolation) =>
    all[isolation].map((step, index) => [step, isolation, `killed-${isolation}-${index}`] as const),
  );

  it.each(cases)(
    '%s (%s): nothing is left, or all of it, and a repetition has one tenant',
    async (step, isolation, slug) => {
      const child = create(step, slug, isolation);
      await child.ended();
      expect(steps(child).at(-1)).toBe(step);
      const there = await database.superuser('select id from control.tenants where slug = $1', [slug]);
      expect(there).toHaveLength(step === 'create: committed' ? 1 : 0);
      expect(await orphans()).toEqual([]);

      // A killed runner may hold its locks for half a second.
      const { tenants } = service.tenantry.control ?? missing();
      const repeat = () => tenants.createOnce(input(slug, isolation), request(slug)).catch(() => undefined);
      await until(async () => (await repeat()) !== undefined, 'the repetition to succeed', 20_000);
      const rows = await database.superuser<{ id: string }>(
        'select id from control.tenants where slug = $1',
        [slug],
      );
      expect(rows).toHaveLength(1);
      if (there.length > 0) expect(rows).toEqual(there);
      const counts = await rowsByTable(database, rows[0]?.id ?? '');
      expect(Object.values(counts)).toEqual([1, 1]); // the owner, and the event that tells of it
      const told = `select from control.audit_events where tenant = $1 and action = 'tenants.create'`;
      expect(await database.superuser(told, [rows[0]?.id])).toHaveLength(1);
      expect(await orphans()).toEqual([]);
      await service.login(slug, 'owner@steps.test', password);
    },
  );
});

describe('schemas that wait for a tenant', () => {
  // Of its own: a process that wants none drops what waits.
  const own = useDatabase();
  const env = (size: string) => ({ ...own.env(), PROVISION_WARM: size });
  const waiting = async () =>
    (
      await own.superuser<{ oid: string }>(
        `select n.oid::text from control.warm_schemas join pg_namespace n on nspname = schema_name order by 1`,
      )
    ).map(({ oid }) => oid);
  const tend = async (step: string, size = '2') => {
    const child = processWith(env(size), step, 'tend');
    await child.ended();
    return steps(child);
  };
  /** A runner that was killed may hold its locks for half a second. */
  const untilWaiting = (count: number, size = String(count)) =>
    until(
      async () => {
        await settle(own);
        await tend('none', size);
        return (await waiting()).length === count;
      },
      `${count} to wait`,
      20_000,
    );
  const making = ['warm: a schema is made', 'warm: it waits'];
  const dropping = ['warm: one is not offered any more', 'warm: one is dropped'];

  it('are made and dropped in these steps', async () => {
    expect(await tend('none')).toEqual([...making, ...making]);
    await settle(own);
    expect(await tend('none', '0')).toEqual([...dropping, ...dropping]);
  });

  it.each(making)('killed at "%s": nothing is left of it', async (step) => {
    expect((await tend(step)).at(-1)).toBe(step);
    expect(await waiting()).toEqual([]);
    expect(await orphans(own)).toEqual([]);
    await untilWaiting(2);
    expect(await orphans(own)).toEqual([]);
    await untilWaiting(0);
  });

  it.each(dropping)('killed at "%s": it waits as before', async (step) => {
    await untilWaiting(2);
    const before = await waiting();
    await settle(own);
    expect((await tend(step, '0')).at(-1)).toBe(step);
    expect(await waiting()).toEqual(before);
    expect(await orphans(own)).toEqual([]);
    await untilWaiting(0);
    expect(await orphans(own)).toEqual([]);
  });

  const giving = [
    ...['create: the row is there', 'create: a schema that waited is its own'],
    ...['create: the owner is there', 'create: committed'],
  ];

  it.each(giving)(
    'given to a tenant by a process that is killed at "%s": given, or waiting',
    async (step) => {
      await untilWaiting(2);
      const before = await waiting();
      const slug = `given-${giving.indexOf(step)}`;
      const json = JSON.stringify({ input: input(slug, 'schema'), request: request(slug) });
      const child = processWith(env('2'), step, 'create', json);
      await child.ended();
      expect(steps(child)).toEqual(giving.slice(0, giving.indexOf(step) + 1));
      const committed = step === 'create: committed';
      const after = await waiting();
      expect(after).toHaveLength(committed ? 1 : 2);
      expect(before).toEqual(expect.arrayContaining(after));
      expect(await orphans(own)).toEqual([]);

      let again: Child | undefined;
      await until(
        async () => {
          again = processWith(env('2'), 'none', 'create', json);
          return (await again.ended()).code === 0;
        },
        'the repetition to succeed',
        20_000,
      );
      expect(steps(again ?? child).includes('create: a schema that waited is its own')).toBe(!committed);
      const given = await own.superuser<{ oid: string }>(
        `select oid::text from pg_namespace where nspname = $1`,
        [`tenant_${slug}`],
      );
      expect(before).toContain(given[0]?.oid);
      expect(await orphans(own)).toEqual([]);
      const [tenant] = await own.superuser<{ id: string }>('select id from control.tenants where slug = $1', [
        slug,
      ]);
      expect(Object.values(await rowsByTable(own, tenant?.id ?? ''))).toEqual([1, 1]);
      await untilWaiting(0);
    },
  );
});

describe('purging a tenant, killed after any of its steps', () => {
  const cases = [
    ['purge: looked through', 'shared'],
    ['purge: a batch of shared.order_lines is gone', 'shared'],
    ['purge: a batch of shared.users is gone', 'shared'],
    ['purge: common tables are empty', 'shared'],
    ['purge: nothing is left', 'shared'],
    ['purge: the tombstone is there', 'shared'],
    ['purge: looked through', 'schema'],
    ['purge: the schema is gone', 'schema'],
    ['purge: nothing is left', 'schema'],
    ['purge: the tombstone is there', 'schema'],
  ] as const;

  it.each(cases)('%s (%s): it is resumed, and counts every row once', async (step, isolation) => {
    const slug = `dying-${isolation}-${cases.findIndex(([name, kind]) => name === step && kind === isolation)}`;
    const tenant = await service.onboard(slug, isolation);
    await createHoldings(tenant);
    await deleteLongAgo(service, database, tenant);
    const before = Object.values(await rowsByTable(database, tenant.id)).reduce((sum, rows) => sum + rows, 0);
    const others = await othersRows(database, tenant.id);
    // Nobody but the process that is to die takes the job.
    await service.tenantry.control?.worker.stop();
    const child = process(step, 'work');
    const { body } = await service.operator().post(`/admin/v1/tenants/${slug}/purge`).send({}).expect(202);
    const { id } = body as { id: string };
    await child.ended();
    expect(steps(child).at(-1)).toBe(step);

    // As if it had not been heard of for ten seconds.
    await database.superuser(
      `update control.jobs set heartbeat_at = now() - interval '1 minute' where id = $1`,
      [id],
    );
    const rescue = await startTenantry(database);
    const job = await ended(service, id);
    await rescue.tenantry.stop();
    expect(job).toMatchObject({ status: 'succeeded', attempts: 2 });
    const certificate = certificateOf(job);
    const [ofPlatform, ofTenant] = [true, false].map((control) =>
      certificate.tables.filter(({ place }) => place.startsWith('control.') === control),
    );
    expect(ofTenant?.reduce((sum, { deleted }) => sum + deleted, 0)).toBe(before);
    // It was made and deleted; the tokens of a user who was removed were ended.
    expect(Object.fromEntries((ofPlatform ?? []).map(({ place, deleted }) => [place, deleted]))).toEqual({
      'control.audit_events': 2,
      'control.revocations': 1,
    });
    expect(await rowsByTable(database, tenant.id)).toEqual({});
    expectSameRows(await othersRows(database, tenant.id), others);
    expect(await orphans()).toEqual([]);
    expect(await service.tenantry.control?.purges.verify(certificate)).toEqual([]);
  });
});

function missing(): never {
  throw new Error('There is no control plane');
}
