import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { pino } from 'pino';
import request from 'supertest';
import { build, type Tenantry } from '../../src/build.ts';
import {
  announceContract,
  createAnnouncer,
  learntMs,
  retractContract,
} from '../../src/control/migrations/announcement.ts';
import { schemaName } from '../../src/db/index.ts';
import { createTestClock } from '../support/clock.ts';
import { withConnection } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { useFleet } from '../support/fleet.ts';
import { stepsOf } from '../support/ladders.ts';
import { expectProblem } from '../support/problem.ts';
import { testConfig, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

/** Before a step takes away what builds need, those that do not know it stop serving, in every process. */
const database = useDatabase();
const clock = createTestClock();
const service = useTenantry(database, { overrides: { clock } });
const newest = (await stepsOf('tenant')).at(-1) ?? '';
const contract = '9999_what_was_needed_goes';

const control = () => {
  const { control: plane } = service.tenantry;
  if (plane === undefined) throw new Error('There is no control plane');
  return plane.database;
};
const announce = (...schemas: string[]) =>
  control().write((session) => announceContract(session, schemas.map(schemaName), contract));
const retract = (schema: string) =>
  control().write((session) => retractContract(session, schemaName(schema), null));

describe('an announcement', () => {
  const clockElsewhere = createTestClock();
  let elsewhere: Tenantry;
  let one: TestTenant;
  let two: TestTenant;
  let spared: TestTenant;
  beforeAll(async () => {
    one = await service.onboard('announced_one', 'shared');
    two = await service.onboard('announced_two', 'schema');
    spared = await service.onboard('spared', 'schema');
    // One without a control plane, which nobody notifies.
    const config = testConfig(database, { DATABASE_ADMIN_URL: '' });
    elsewhere = build(config, { clock: clockElsewhere, logger: pino({ level: 'silent' }) });
    await elsewhere.start();
  });
  afterAll(() => elsewhere.stop());

  const here = (tenant: TestTenant) => tenant.client.get('/v1/products');
  const there = (tenant: TestTenant) =>
    request(elsewhere.tenantApp).get('/v1/products').auth(tenant.token, { type: 'bearer' });
  const passed = (ms: number) => [clock, clockElsewhere].forEach((each) => each.advance(ms));

  it('is learnt by every process before the step comes, and its withdrawal within a second', async () => {
    for (const ask of [here, there]) for (const tenant of [one, two, spared]) await ask(tenant).expect(200);
    expect(await announce('shared', 'tenant_announced_two')).toBeGreaterThan(1);
    passed(learntMs(0));
    for (const ask of [here, there]) {
      for (const tenant of [one, two]) expectProblem(await ask(tenant), 503, 'tenant_migrating', []);
      await ask(spared).expect(200);
    }
    await retract('shared');
    passed(1000);
    for (const ask of [here, there]) {
      await ask(one).expect(200);
      expectProblem(await ask(two), 503, 'tenant_migrating', []);
    }
    await retract('tenant_announced_two');
    passed(1000);
    for (const ask of [here, there]) for (const tenant of [one, two, spared]) await ask(tenant).expect(200);
  });

  it('has been heard by all when the announcer says so, by no clock but the real one', async () => {
    for (const ask of [here, there]) await ask(two).expect(200);
    const tell = createAnnouncer({ database: control(), maxReplicaLagMs: 0 });
    await tell([schemaName('tenant_announced_two')], contract);
    for (const ask of [here, there]) expectProblem(await ask(two), 503, 'tenant_migrating', []);
    await retract('tenant_announced_two');
    passed(1000);
    for (const ask of [here, there]) await ask(two).expect(200);
  });

  it('takes back nothing that was announced or applied before', async () => {
    const needs = async () => {
      const [row] = await database.superuser<{ needs: string | null }>(
        `select needs from control.schema_versions where schema_name = 'tenant_announced_two'`,
      );
      return row?.needs;
    };
    const step = (name: string) =>
      control().write((session) => announceContract(session, [schemaName('tenant_announced_two')], name));
    await step('9997_b');
    await step('9996_a');
    expect(await needs()).toBe('9997_b');
    await control().write((session) =>
      retractContract(session, schemaName('tenant_announced_two'), '9996_a'),
    );
    expect(await needs()).toBe('9996_a');
    await retract('tenant_announced_two');
    expect(await needs()).toBeNull();
  });

  it('reaches a schema whose version nobody has noted, and makes none for one that is not there', async () => {
    await database.superuser(
      `delete from control.schema_versions where schema_name = 'tenant_announced_two'`,
    );
    expect(await announce('tenant_announced_two', 'tenant_of_nobody')).toBe(1);
    const rows = await database.superuser(
      `select schema_name, version, needs from control.schema_versions
       where schema_name in ('tenant_announced_two', 'tenant_of_nobody')`,
    );
    expect(rows).toEqual([{ schema_name: 'tenant_announced_two', version: newest, needs: contract }]);
    await retract('tenant_announced_two');
  });
});

describe('the numbers that an announcement gives to tenants', () => {
  const epochs = () =>
    database.superuser<{ id: string; slug: string; epoch: string }>(
      'select id, slug, epoch from control.tenant_epochs order by control.tenant_epochs.epoch',
    );
  const ofShared = async () => {
    const [row] = await database.superuser<{ n: number }>(
      `select count(*)::int as n from control.tenants where schema_name = 'shared'`,
    );
    return row?.n;
  };
  beforeAll(async () => {
    for (let n = 1; n <= 12; n += 1) await service.onboard(`numbered_${n}`, 'shared');
  });
  afterAll(() => retract('shared'));

  it('are those that come next, one each', async () => {
    const before = await epochs();
    const shared = await ofShared();
    await withConnection(database.superuserUrl(), async (client) => {
      const heard = new Promise<string | undefined>((resolve) => {
        client.once('notification', ({ payload }) => resolve(payload));
      });
      await client.query('listen tenantry_tenants');
      expect(await announce('shared')).toBe(shared);
      expect(await heard).toBe((await epochs()).at(-1)?.epoch);
    });
    const after = await epochs();
    const last = Number(before.at(-1)?.epoch);
    const given = after.map(({ epoch }) => Number(epoch)).filter((epoch) => epoch > last);
    expect(given).toEqual(Array.from({ length: shared ?? 0 }, (_, n) => last + n + 1));
    const [row] = await database.superuser<{ epoch: string }>('select epoch from control.tenant_epoch');
    expect(Number(row?.epoch)).toBe(given.at(-1));
  });

  it('become visible in their order, whoever else changes tenants', async () => {
    const seen: { id: string; epoch: number }[][] = [];
    const watched = new AbortController();
    const watch = () =>
      withConnection(database.superuserUrl(), async (client) => {
        while (!watched.signal.aborted) {
          const { rows } = await client.query<{ id: string; epoch: string }>(
            'select id, epoch from control.tenant_epochs',
          );
          seen.push(rows.map(({ id, epoch }) => ({ id, epoch: Number(epoch) })));
        }
      });
    const change = (from: number) =>
      withConnection(database.superuserUrl(), async (client) => {
        for (let n = from; n <= 12; n += 3) {
          await client.query('update control.tenants set name = name where slug = $1', [`numbered_${n}`]);
        }
      });
    const announceAll = async () => {
      for (let n = 0; n < 20; n += 1) await announce('shared');
    };
    const watching = watch();
    await Promise.all([announceAll(), ...[1, 2, 3].map(change), ...[1, 2, 3].map(change)]);
    watched.abort();
    await watching;
    for (const [at, now] of seen.entries()) {
      const before = seen[at - 1] ?? [];
      const newestBefore = Math.max(0, ...before.map(({ epoch }) => epoch));
      const late = now.filter(
        ({ id, epoch }) =>
          epoch <= newestBefore && !before.some((other) => other.id === id && other.epoch === epoch),
      );
      expect(late).toEqual([]);
    }
    expect(seen.length).toBeGreaterThan(20);
  });

  it('are given, too, to a tenant that was made while the announcement had to wait', async () => {
    const before = (await ofShared()) ?? 0;
    await withConnection(database.superuserUrl(), async (client) => {
      await client.query('begin');
      await client.query(
        `insert into control.tenants (id, slug, name, isolation, schema_name, status)
         values (gen_random_uuid(), 'slipped_in', 'x', 'shared', 'shared', 'active')`,
      );
      await client.query('set constraints all immediate'); // it has its number, and holds up others'
      const announcing = announce('shared');
      await until(async () => {
        const waiting = await database.superuser(
          `select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`,
        );
        return waiting.length > 0;
      }, 'the announcement to wait');
      await client.query('commit');
      expect(await announcing).toBe(before + 1);
    });
    const all = await epochs();
    expect(all.slice(-before - 1).map(({ slug }) => slug)).toContain('slipped_in');
    await database.superuser(`delete from control.tenants where slug = 'slipped_in'`);
  });
});

describe('a run with a step that takes something away', () => {
  const own = useDatabase();
  const older = useTenantry(own);
  const fleet = useFleet(own);

  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await older.onboard('served_before', 'schema');
  });
  const status = async () => (await tenant.client.get('/v1/products')).status;
  const takesAway = (step: string, column: string) =>
    fleet.addFile('tenant', step, {
      up: `alter table products add column ${column} text`,
      more: 'export const contract = true;',
    });
  const applied = async () => (await fleet.ledger())['tenant_served_before'];

  it('is taken back where the step fails', async () => {
    await own.superuser('alter table tenant_served_before.products add column in_the_way text');
    await takesAway('9998_fails_at_first', 'in_the_way');
    expect(await status()).toBe(200);
    const running = fleet.control.runner.up();
    await until(async () => (await status()) === 503, 'it to be refused');
    expect(await running).toMatchObject({ counts: { failed: 1 } });
    await until(async () => (await status()) === 200, 'it to be served again');
    await own.superuser('alter table tenant_served_before.products drop column in_the_way');
  });

  it('comes to a schema when the builds that do not know it have stopped serving it', async () => {
    await takesAway(contract, 'what_is_needed');
    expect(await status()).toBe(200);
    const running = fleet.control.runner.up();
    await until(async () => (await status()) === 503, 'it to be refused');
    expect(await applied()).not.toContain('9998_fails_at_first');
    expect(await running).toMatchObject({ status: 'succeeded', counts: { failed: 0 } });
    expect(await applied()).toContain(contract);
    expectProblem(await tenant.client.get('/v1/products'), 503, 'tenant_migrating', []);
  });
});
