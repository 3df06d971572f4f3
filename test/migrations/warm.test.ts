import { afterEach, describe, expect, it } from '@jest/globals';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { buildControlPlane, type ControlPlane, createKernel } from '../../src/build.ts';
import { provisioningKey, provisioningUnderWay } from '../../src/control/migrations/ledger.ts';
import type { Step } from '../../src/control/tenants/service.ts';
import { withConnection } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { stepsOf } from '../support/ladders.ts';
import { password, testConfig } from '../support/tenantry.ts';
import { until } from '../support/until.ts';
import { unchanged } from '../support/untouched.ts';
import { settle, withTurn } from '../support/warm.ts';

/** Control planes as several processes have them, none of which does anything that it is not told to. */
const database = useDatabase();
const elsewhere = useDatabase({ empty: true });
const steps = await stepsOf('tenant');
const newest = steps.at(-1) ?? '';
const ladders = fileURLToPath(new URL('../../migrations', import.meta.url));
const release: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of release.splice(0).toReversed()) await end();
  for (const { schema } of await waiting()) {
    await database.superuser(`
      drop schema ${schema} cascade;
      delete from control.warm_schemas where schema_name = '${schema}';
      delete from control.migration_ledger where schema_name = '${schema}';
      delete from control.schema_versions where schema_name = '${schema}'`);
  }
});

function plane(size: number, folder?: string, step?: Step): ControlPlane {
  const control = buildControlPlane(
    createKernel(testConfig(database, { PROVISION_WARM: String(size) }), {
      logger: pino({ level: 'silent' }),
      migrations: { lint: async () => undefined }, // steps of tests are short rather than good
      ...(folder === undefined ? {} : { migrationsFolder: folder }),
      ...(step === undefined ? {} : { step }),
    }),
  );
  release.push(() => control.stop());
  return control;
}

/** The project's ladders with one step more. */
async function ladderWith(step: string, sql: string): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'tenantry-ladders-'));
  release.push(() => rm(folder, { recursive: true, force: true }));
  await cp(ladders, folder, { recursive: true });
  await writeFile(
    path.join(folder, 'tenant', `${step}.ts`),
    `export async function up(knex) { await knex.raw(${JSON.stringify(sql)}); }
     export async function down() {}\n`,
  );
  return folder;
}

interface WaitingRow {
  schema: string;
  version: string;
  oid: string;
}
/** What is offered, by the schemas that are there: neither is ever without the other. */
async function waiting(): Promise<WaitingRow[]> {
  const rows = await database.superuser<WaitingRow & { offered: string | null }>(
    `select nspname as schema, w.schema_name as offered, w.version, n.oid::text
     from (select oid, nspname from pg_namespace where nspname like 'warm\\_%') n
     full join control.warm_schemas w on w.schema_name = nspname order by w.made_at`,
  );
  expect(rows.filter(({ schema, offered }) => schema !== offered)).toEqual([]);
  return rows.map(({ schema, version, oid }) => ({ schema, version, oid }));
}
const versions = async () => (await waiting()).map(({ version }) => version);
const create = (control: ControlPlane, slug: string) =>
  control.tenants.create({
    ...{ slug, name: slug, isolation: 'schema', limits: {} },
    owner: { email: `owner@${slug}.test`, password },
  });
const oidOf = async (schema: string) =>
  (
    await database.superuser<{ oid: string }>('select oid::text from pg_namespace where nspname = $1', [
      schema,
    ])
  )[0]?.oid;
const ledgerOf = async (schema: string) =>
  (
    await database.superuser<{ migration: string }>(
      'select migration from control.migration_ledger where schema_name = $1 order by 1',
      [schema],
    )
  ).map(({ migration }) => migration);

describe('schemas that wait for a tenant', () => {
  // First of all: tenants of the tests below have steps that this build does not know.
  it('are no part of the fleet: a run leaves them, and they are replaced', async () => {
    await plane(2).warm.tend();
    const folder = await ladderWith('9002_run', 'create table in_run (id int)');
    const control = plane(2, folder);
    expect(JSON.stringify(await control.runner.plan())).not.toContain('warm_');
    await control.runner.up();
    expect(await ledgerOf('shared')).toContain('9002_run');
    expect(await versions()).toEqual([steps.at(-1), steps.at(-1)]);
    await withTurn(database, () => create(control, 'after_run'));
    expect(await ledgerOf('tenant_after_run')).toContain('9002_run');
    await settle(database);
    await control.warm.tend();
    expect(await versions()).toEqual(['9002_run', '9002_run']);
  });

  it('are as many as there should be, however many processes look after them at once', async () => {
    const planes = [plane(5), plane(5), plane(5)];
    await Promise.all(planes.flatMap(({ warm }) => [warm.tend(), warm.tend()]));
    expect(await versions()).toEqual(Array.from({ length: 5 }, () => steps.at(-1)));
    expect(planes.map(({ warm }) => warm.ready())).toContain(5);
    for (const { schema } of await waiting()) expect(await ledgerOf(schema)).toEqual(steps);
    await unchanged(database, () => Promise.all(planes.map(({ warm }) => warm.tend())));
  });

  it('of a step that was edited before it was applied anywhere else keep no run from it', async () => {
    const draft = plane(1, await ladderWith('9003_draft', 'create table draft (id int)'));
    await draft.warm.tend();
    expect(await versions()).toEqual(['9003_draft']);
    await draft.stop();
    const edited = plane(1, await ladderWith('9003_draft', 'create table draft (id bigint)'));
    await expect(edited.runner.plan()).resolves.toContainEqual(
      expect.objectContaining({ schema: 'shared', pending: ['9003_draft'] }),
    );
    await withTurn(database, () => create(edited, 'edited'));
    await settle(database);
    await edited.warm.tend();
    const [one] = await waiting();
    const kind = `select atttypid::regtype::text as type from pg_attribute
      where attname = 'id' and attrelid in ('tenant_edited.draft'::regclass, '${one?.schema}.draft'::regclass)`;
    expect(await database.superuser(kind)).toEqual([{ type: 'bigint' }, { type: 'bigint' }]);
  });

  it('are given away oldest first, each once, and are made again', async () => {
    const control = plane(3);
    await control.warm.tend();
    const before = (await waiting()).map(({ oid }) => oid);
    const slugs = ['first', 'second', 'third'];
    // Nothing is made meanwhile.
    await withTurn(database, async () => {
      await create(control, 'first');
      expect(await oidOf('tenant_first')).toBe(before[0]);
      await Promise.all(slugs.slice(1).map((slug) => create(control, slug)));
    });
    const given = await Promise.all(slugs.map((slug) => oidOf(`tenant_${slug}`)));
    expect(new Set(given)).toEqual(new Set(before));
    for (const slug of slugs) {
      expect(await ledgerOf(`tenant_${slug}`)).toEqual(steps);
      expect((await control.tenants.get(slug)).schemaVersion).toBe(steps.at(-1));
    }
    await control.warm.tend();
    const after = (await waiting()).map(({ oid }) => oid);
    expect(after).toHaveLength(3);
    expect(after.filter((oid) => before.includes(oid))).toEqual([]);
  });

  it('are seen to be given away by a run of the fleet, which waits for the tenant', async () => {
    const seen: Record<string, number> = {};
    const control: ControlPlane = plane(1, undefined, async (name) => {
      seen[name] = (await control.database.read(provisioningUnderWay)).length;
    });
    await control.warm.tend();
    // Somebody makes a tenant in another database of the server, too.
    await withConnection(elsewhere.superuserUrl(), async (other) => {
      await other.query(`begin; select pg_advisory_xact_lock_shared(${provisioningKey})`);
      await create(control, 'seen');
    });
    expect(seen).toMatchObject({
      'warm: it waits': 0,
      'create: the row is there': 0,
      'create: a schema that waited is its own': 1,
      'create: the owner is there': 1,
      'create: committed': 0,
    });
  });

  it('are not needed: without one, or with one that somebody else takes, a tenant gets a new one', async () => {
    const control = plane(1);
    await withTurn(database, () => create(control, 'alone'));
    expect(await ledgerOf('tenant_alone')).toEqual(steps);
    await control.warm.tend();
    const [one] = await waiting();
    await withConnection(database.superuserUrl(), async (other) => {
      await other.query('begin; select from control.warm_schemas for update');
      await withTurn(database, () => create(control, 'beside'));
      await other.query('rollback');
    });
    expect(await ledgerOf('tenant_beside')).toEqual(steps);
    expect(await waiting()).toEqual([one]);
  });

  it('wait again when their tenant could not be made', async () => {
    const control = plane(1);
    await control.warm.tend();
    await database.superuser('create schema tenant_occupied');
    await unchanged(database, () =>
      withTurn(database, () => expect(create(control, 'occupied')).rejects.toThrow('tenant_occupied')),
    );
    await expect(create(control, 'alone')).rejects.toMatchObject({ code: 'slug_taken' });
    const [one] = await waiting();
    await database.superuser('drop schema tenant_occupied');
    await withTurn(database, () => create(control, 'occupied'));
    expect(await oidOf('tenant_occupied')).toBe(one?.oid);
  });

  it('are dropped when fewer are wanted, those that were just made excepted', async () => {
    await plane(4).warm.tend();
    const all = await waiting();
    const fewer = plane(2);
    await fewer.warm.tend();
    expect(await waiting()).toEqual(all);
    await settle(database);
    await fewer.warm.tend();
    expect(await waiting()).toEqual(all.slice(2));
    const none = plane(0);
    await withTurn(database, () => create(none, 'stranger'));
    expect(await waiting()).toEqual(all.slice(2));
    await none.warm.tend();
    expect(await waiting()).toEqual([]);
    for (const { schema } of all) expect(await ledgerOf(schema)).toEqual([]);
    const left = `select from control.schema_versions where schema_name like 'warm%'`;
    expect(await database.superuser(left)).toEqual([]);
  });

  it('of another build are not given away; older ones are dropped, newer ones are not', async () => {
    const old = plane(2);
    await old.warm.tend();
    const outdated = (await waiting()).map(({ oid }) => oid);
    const next = plane(1, await ladderWith('9001_newer', 'create table newer (id int)'));
    await withTurn(database, () => create(next, 'newcomer'));
    expect(outdated).not.toContain(await oidOf('tenant_newcomer'));
    expect(await ledgerOf('tenant_newcomer')).toEqual([...steps, '9001_newer']);
    await next.warm.tend();
    expect(await versions()).toEqual([steps.at(-1), steps.at(-1), '9001_newer']);
    expect(next.warm.ready()).toBe(1);

    await settle(database);
    await next.warm.tend();
    expect(await versions()).toEqual(['9001_newer']);
    // The old build has its own, and does not touch the other.
    await old.warm.tend();
    expect((await versions()).toSorted()).toEqual([newest, newest, '9001_newer']);
    await settle(database);
    await old.warm.tend();
    expect(await waiting()).toHaveLength(3);
    await withTurn(database, () => create(old, 'late'));
    expect(await ledgerOf('tenant_late')).toEqual(steps);
    await old.stop();
    await settle(database);
    await next.warm.tend();
    expect(await versions()).toEqual(['9001_newer']);
  });

  it('lack a step that was added before their newest one: they are of another build, too', async () => {
    const old = plane(1);
    await old.warm.tend();
    const earlier = plane(1, await ladderWith('0001_zz_in_between', 'create table in_between (id int)'));
    await withTurn(database, () => create(earlier, 'in_order'));
    expect(await ledgerOf('tenant_in_order')).toContain('0001_zz_in_between');
    expect(await waiting()).toHaveLength(1);
    await settle(database);
    await earlier.warm.tend();
    const [one, ...others] = await waiting();
    expect(others).toEqual([]);
    expect(await ledgerOf(one?.schema ?? '')).toContain('0001_zz_in_between');
  });

  it('are not looked after by a command, which may not know how many are wanted', async () => {
    await plane(2).warm.tend();
    await settle(database);
    const before = await waiting();
    const command = plane(0);
    for (const slug of ['by_command', 'by_another', 'by_a_third']) await create(command, slug);
    await command.stop();
    expect(await waiting()).toEqual(before);
  });

  it('are not made without end when none of them counts', async () => {
    await database.superuser(`
      create function public.forge() returns trigger language plpgsql as $$
      begin new.checksum := 'forged'; return new; end $$;
      create trigger forge before insert on control.migration_ledger for each row execute function public.forge()`);
    await expect(plane(2).warm.tend()).rejects.toThrow('does not stand in the ledger');
    expect(await waiting()).toEqual([]);
    await database.superuser('drop trigger forge on control.migration_ledger; drop function public.forge()');
  });

  it('are not made any more once the process ends', async () => {
    const control = plane(100);
    const tending = control.warm.tend();
    await until(async () => (await waiting()).length > 0, 'the first one');
    await control.stop();
    await tending;
    const made = (await waiting()).length;
    expect(made).toBeLessThan(100);
    await control.warm.tend();
    expect(await waiting()).toHaveLength(made);
  });
});
