import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { withinTransaction } from '../../src/control/migrations/drift/template.ts';
import { unqualified } from '../../src/control/migrations/drift/unqualified.ts';
import type { DriftReport } from '../../src/control/migrations/drift.ts';
import { builtProgram, killChildren, start } from '../support/child.ts';
import { withConnection } from '../support/connection.ts';
import { type TestDatabase, useDatabase } from '../support/database.ts';
import { useFleet } from '../support/fleet.ts';
import { useFolder } from '../support/folder.ts';
import { stepsOf } from '../support/ladders.ts';
import { moveTo } from '../support/moving.ts';
import { useTenantry } from '../support/tenantry.ts';
import { exportOf, importOf } from '../support/transfer.ts';
import { until } from '../support/until.ts';

const steps = await stepsOf('tenant');
const [first = ''] = steps;
const newest = steps.at(-1) ?? '';
const words = ({ findings }: Pick<DriftReport, 'findings'>) => findings.map((finding) => finding.words);

/** Schemas that only a template can have left. */
const templates = (database: TestDatabase) =>
  database.superuser(`select nspname from pg_namespace where nspname like 'tenant\\_drift\\_%'`);

describe('a fleet that nobody has touched', () => {
  const database = useDatabase();
  const service = useTenantry(database);
  const find = async () => {
    const { control } = service.tenantry;
    if (control === undefined) throw new Error('There is no control plane');
    return control.drift.find();
  };

  it('has no drift, whichever way its schemas were made', async () => {
    await service.onboard('made', 'schema');
    for (const slug of ['moved-out', 'exported']) await service.onboard(slug, 'shared');
    await moveTo(service, { slug: 'moved-out' }, 'schema');
    const text = await exportOf(service, 'exported');
    await importOf(service, text, { slug: 'imported', isolation: 'schema' });
    const report = await find();
    expect(words(report)).toEqual([]);
    expect(report).toMatchObject({ schemas: 4, versions: [{ version: newest, schemas: 4 }] });
    expect(await templates(database)).toEqual([]);
  });

  it('nor while a tenant moves, or what a move has left behind waits', async () => {
    await service.onboard('moved-in', 'schema');
    await moveTo(service, { slug: 'moved-in' }, 'shared');
    expect(
      await database.superuser(`select from pg_namespace where nspname = 'tenant_moved-in'`),
    ).toHaveLength(1);
    expect(words(await find())).toEqual([]);
    // As in the middle of a move: a guard on the tables, and a schema that nobody lives in yet.
    const { id } = await service.onboard('moving', 'shared');
    await database.superuser(
      `create schema tenant_moving;
       update control.tenants set status = 'moving', prior_status = 'active' where slug = 'moving';
       create trigger moving_${id.replaceAll('-', '')} before insert or update on shared.products
         for each row execute function control.guard_move()`,
    );
    expect(words(await find())).toEqual([]);
  });
});

describe('a fleet at several versions', () => {
  const database = useDatabase();
  const fleet = useFleet(database);
  const find = (...tenants: string[]) => fleet.control.drift.find(tenants.length === 0 ? {} : { tenants });

  it('holds each schema against its own', async () => {
    for (const slug of ['old', 'older']) await fleet.onboard(slug);
    await fleet.addStep(
      'tenant',
      '9001_parcels',
      `create table parcels (id integer); create table reminders (id integer);
       create function own() returns trigger language plpgsql as 'begin return new; end';
       create trigger own before insert on parcels for each row execute function own();
       create trigger common before insert on parcels for each row execute function control.guard_move()`,
    );
    await fleet.addStep(
      'tenant',
      '9002_asked',
      `await knex.raw('alter table parcels add column paid boolean');
      const { rows } = await knex.raw('select current_schema() as schema');
      await knex.raw('create index parcels_' + (rows.length === 1 ? 'paid' : 'not') + '_idx on parcels (paid)');`,
    );
    await fleet.onboard('new');
    const report = await find();
    expect(report.versions).toEqual([
      { version: newest, schemas: 3 },
      { version: '9002_asked', schemas: 1 },
    ]);
    expect(words(report)).toEqual([]);
    await database.superuser('drop table tenant_new.reminders; drop index tenant_old.users_email_key');
    expect(words(await find())).toEqual([
      'tenant_old: the index users_email_key is missing',
      'tenant_new: the table reminders is missing',
    ]);
    expect(words(await find('new'))).toEqual(['tenant_new: the table reminders is missing']);
    await database.superuser(
      `create table tenant_new.reminders (id integer); alter table tenant_new.reminders owner to tenantry_owner;
       create unique index users_email_key on tenant_old.users (tenant_id, email) where deleted_at is null`,
    );
    expect(words(await find())).toEqual([]);
  });

  it('sees in shared what it sees in others', async () => {
    await database.superuser('alter table shared.users disable row level security');
    expect(words(await find())).toEqual([
      'shared: row level security of users is disabled, but forced there, enabled and forced is expected',
    ]);
    await fleet.onboard('sharing', 'shared');
    expect(words(await find('sharing'))).toHaveLength(1);
    expect(words(await find('old'))).toEqual([]);
    await database.superuser('alter table shared.users enable row level security');
  });

  it('a tenant that there is not is an error', async () => {
    await expect(find('old', 'nobody')).rejects.toMatchObject({ code: 'not_found' });
  });

  it('tells of a step that was edited after it was applied, and of one that nobody knows', async () => {
    await database.superuser(
      `update control.migration_ledger set checksum = 'another' where schema_name = 'tenant_old' and migration = '${first}';
       update control.migration_ledger set checksum = null where schema_name = 'tenant_older'`,
    );
    await database.superuser(
      `insert into control.migration_ledger (schema_name, migration, duration_ms) values
         ('tenant_older', '9009_future', 1), ('control', '9009_future', 1)`,
    );
    expect(words(await find())).toEqual([
      'control: 9009_future has been applied, which this build does not know: tables are not compared',
      `control: knex's own ledger lacks 9009_future`,
      `tenant_old: ${first} has been edited since it was applied`,
      'tenant_older: 9009_future has been applied, which this build does not know: tables are not compared',
      `tenant_older: knex's own ledger lacks 9009_future`,
    ]);
    await database.superuser(
      `delete from control.migration_ledger where migration = '9009_future';
       update control.migration_ledger set checksum = null where schema_name = 'tenant_old'`,
    );
    expect(words(await find())).toEqual([]);
  });

  it('a schema that was replaced by an older one is told by what it is, and its ledger is not touched', async () => {
    // As restored from a backup of before the last two steps.
    await database.superuser(
      `drop table tenant_new.parcels, tenant_new.reminders; drop function tenant_new.own();
       delete from tenant_new.knex_migrations where name like '900%'`,
    );
    const { findings } = await find();
    expect(words({ findings })).toEqual([`tenant_new: knex's own ledger lacks 9001_parcels, 9002_asked`]);
    expect(findings[0]).toMatchObject({ repair: 'by hand', object: 'ledger' });
  });

  it('a version that cannot be made here is said to be incomparable', async () => {
    await fleet.addStep(
      'tenant',
      '9003_asked_outside',
      `const { rows } = await knex.raw('select 1 as one');
      if (rows[0].one === 1 && (await knex.raw('select current_schema() as s')).rows[0].s.startsWith('tenant_drift')) throw new Error('not here');`,
    );
    await fleet.onboard('newest');
    expect(words(await find('newest'))).toEqual(['tenant_newest: cannot be compared: not here']);
    expect(await templates(database)).toEqual([]);
  });
});

describe('schemas and tenants', () => {
  const database = useDatabase();
  const fleet = useFleet(database);
  beforeAll(async () => {
    for (const slug of ['acme', 'globex']) await fleet.onboard(slug);
  });

  it('that have lost each other are named, and only where all are looked at', async () => {
    await database.superuser(
      `drop schema tenant_acme cascade; create schema tenant_nobody; create table tenant_nobody.rows (id int);
       insert into control.migration_ledger (schema_name, migration, duration_ms) values ('tenant_gone', '${first}', 1)`,
    );
    const { findings, schemas } = await fleet.control.drift.find();
    expect(words({ findings })).toEqual([
      'tenant_acme: the schema is missing: restore it from a backup, or purge its tenant',
      'tenant_nobody: the schema belongs to no tenant',
      'tenant_gone: control.migration_ledger has rows of a schema that is not there',
    ]);
    expect(findings.map(({ repair }) => repair)).toEqual(findings.map(() => 'by hand'));
    expect(schemas).toBe(2);
    expect(words(await fleet.control.drift.find({ tenants: ['globex'] }))).toEqual([]);
    expect(words(await fleet.control.drift.find({ tenants: ['acme'] }))).toHaveLength(1);
  });

  it('a schema of a tenant that has been purged belongs to nobody', async () => {
    await database.superuser(
      `update control.tenants set status = 'purged' where slug = 'globex'; drop schema tenant_nobody cascade`,
    );
    expect(words(await fleet.control.drift.find())).toContain(
      'tenant_globex: the schema belongs to no tenant',
    );
    await database.superuser(`update control.tenants set status = 'active' where slug = 'globex'`);
  });

  it('a schema that waits for a tenant is looked at, too', async () => {
    await database.superuser(
      `insert into control.warm_schemas (schema_name, version) values ('tenant_globex', '${newest}');
       update control.tenants set status = 'purging' where slug = 'globex';
       alter table tenant_globex.users no force row level security`,
    );
    expect(words(await fleet.control.drift.find())).toContain(
      'tenant_globex: row level security of users is enabled there, enabled and forced is expected',
    );
  });
});

describe('a template', () => {
  const database = useDatabase();
  const folder = useFolder();
  afterEach(killChildren);

  /** Whoever makes a template waits in the middle of it, for as long as `fn` runs. */
  async function held(fn: () => Promise<void>): Promise<void> {
    await database.superuser(
      `create function public.hold() returns event_trigger language plpgsql as $$
       begin
         if current_schema() like 'tenant\\_drift\\_%' then perform pg_advisory_xact_lock(42); end if;
       end $$;
       create event trigger hold on ddl_command_end when tag in ('CREATE POLICY') execute function public.hold()`,
    );
    await withConnection(database.superuserUrl(), async (client) => {
      await client.query('select pg_advisory_lock(42)');
      await fn();
    });
    await database.superuser('drop event trigger hold; drop function public.hold()');
  }
  const waiting = () =>
    database.superuser(`select from pg_stat_activity where application_name = 'tenantry-drift'
      and datname = current_database() and wait_event = 'advisory'`);
  const connected = () =>
    database.superuser(`select from pg_stat_activity where application_name = 'tenantry-drift'
      and datname = current_database()`);

  it('is seen by nobody, and leaves nothing when its process is killed in the middle', async () => {
    await held(async () => {
      const child = start(builtProgram(), ['migrate', 'drift'], { env: database.env(), cwd: folder() });
      await until(async () => (await waiting()).length === 1, 'the template to be half made');
      expect(await templates(database)).toEqual([]);
      child.kill('SIGKILL');
      await until(async () => (await connected()).length === 0, 'the server to notice');
    });
    expect(await templates(database)).toEqual([]);
    expect(await database.superuser(`select from pg_class where relname = 'products'`)).toHaveLength(1);
  });
});

describe('a definition', () => {
  it.each([
    ['CREATE INDEX a ON tenant_acme.products USING btree (x)', 'CREATE INDEX a ON products USING btree (x)'],
    [`nextval('tenant_acme.numbers_seq'::regclass)`, `nextval('numbers_seq'::regclass)`],
    [`CHECK ((note <> 'tenant_acme.products'::text))`, `CHECK ((note <> 'tenant_acme.products'::text))`],
    ['my_tenant_acme.f(tenant_acme.g(1))', 'my_tenant_acme.f(g(1))'],
    ['"tenant_acme"."x", "a""tenant_acme.".y', '"tenant_acme"."x", "a""tenant_acme.".y'],
  ])('%s loses the name of its schema, and no other', (text, plain) => {
    expect(unqualified(text, 'tenant_acme')).toBe(plain);
  });

  it('of a schema whose name must be quoted, too', () => {
    expect(unqualified('REFERENCES "tenant_a-b".users(id)', 'tenant_a-b')).toBe('REFERENCES users(id)');
  });
});

describe('a statement that no transaction takes', () => {
  it.each([
    ['create index concurrently if not exists a on t (b)', 'create index if not exists a on t (b)'],
    ['CREATE UNIQUE INDEX CONCURRENTLY a ON t (b)', 'CREATE UNIQUE INDEX a ON t (b)'],
    ['-- why\n drop index  concurrently a', '-- why\n drop index a'],
    ['reindex index concurrently a', 'reindex index a'],
    ['alter table p detach partition q concurrently', 'alter table p detach partition q'],
    [
      `comment on table t is 'create index concurrently'`,
      `comment on table t is 'create index concurrently'`,
    ],
    ['vacuum t', ''],
  ])('%s becomes one that a transaction takes', (sql, within) => {
    expect(withinTransaction(sql)).toBe(within);
  });
});
