import { beforeAll, describe, expect, it } from '@jest/globals';
import type { Finding } from '../../src/control/migrations/drift.ts';
import { command } from '../../src/control/tenants/service.ts';
import { withConnection } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { useFleet } from '../support/fleet.ts';
import { holding } from '../support/holding.ts';
import { useRepairing, wordsOf } from '../support/repairing.ts';
import { until } from '../support/until.ts';

const database = useDatabase();
const fleet = useFleet(database);
const { find, repair, impatient } = useRepairing(database, fleet);
beforeAll(() => fleet.onboard('acme'));

describe('a repair', () => {
  const acme = 'tenant_acme';
  const only = (findings: readonly Finding[]) => findings.map(({ name }) => name);

  it('of an index that rows stand against says which, and leaves no half of it', async () => {
    await database.superuser('drop index tenant_acme.users_email_key');
    await database.superuser(
      `insert into tenant_acme.users (tenant_id, id, email, role, password_hash)
       select tenant_id, gen_random_uuid(), email, role, password_hash from tenant_acme.users`,
    );
    const findings = await find();
    const { results } = await repair(findings);
    expect(results).toMatchObject([{ outcome: 'failed' }]);
    expect(results[0]?.error).toContain('could not create unique index');
    expect(results[0]?.offenders).toEqual(
      (await database.superuser('select id from tenant_acme.users order by id')).map((row) => ({
        tenant: 'acme',
        ...row,
      })),
    );
    expect(await find()).toEqual(findings);
    await database.superuser(
      'delete from tenant_acme.users where id <> (select id from tenant_acme.users order by created_at limit 1)',
    );
    expect((await repair(await find())).counts.mended).toBe(1);
    expect(await find()).toEqual([]);
  });

  it('of a check that rows break says so, keeps them, and refuses new ones from then on', async () => {
    await database.superuser('alter table tenant_acme.products drop constraint products_stock_check');
    const id = await insert('products', { sku: 'a', name: 'a', price_cents: 1, currency: 'USD', stock: -1 });
    const { results } = await repair(await find());
    expect(results).toMatchObject([
      {
        outcome: 'failed',
        error: expect.stringContaining('violated by some row'),
        offenders: [{ tenant: 'acme', id }],
      },
    ]);
    expect(wordsOf(await find())).toEqual([
      'tenant_acme: the constraint products_stock_check of products is not validated: rows may break it',
    ]);
    await expect(
      database.superuser('update tenant_acme.products set stock = -2 where stock = -1'),
    ).rejects.toThrow('products_stock_check');
    await database.superuser('delete from tenant_acme.products where stock = -1');
    expect((await repair(await find())).counts.mended).toBe(1);
    expect(await find()).toEqual([]);
  });

  it('of a reference to rows that are not there names them, which policies hide from PostgreSQL', async () => {
    await database.superuser('alter table tenant_acme.orders drop constraint orders_customer_id_fkey');
    const order = { number: 1, status: 'placed', total_cents: 1, currency: 'USD' };
    const id = await insert('orders', { ...order, customer_id: '00000000-0000-4000-8000-00000000000a' });
    await insert('orders', { ...order, number: 2 }); // of nobody, which is well
    const { results } = await repair(await find());
    expect(results).toMatchObject([
      {
        outcome: 'failed',
        error: 'rows refer to what is not there',
        offenders: [{ tenant: 'acme', id }],
      },
    ]);
    expect(wordsOf(await find())).toEqual([
      'tenant_acme: the constraint orders_customer_id_fkey of orders is not validated: rows may break it',
    ]);
    await database.superuser(`delete from tenant_acme.orders`);
    expect((await repair(await find())).counts.mended).toBe(1);
    expect(await find()).toEqual([]);
  });

  it('waits for a lock in short tries, so that nobody waits behind it, and gets it at last', async () => {
    await database.superuser('alter table tenant_acme.users disable row level security');
    const findings = await find();
    await withConnection(database.superuserUrl(), async (client) => {
      await client.query('begin; lock table tenant_acme.users in access share mode');
      const repairing = repair(findings);
      const tries = new Set<string>();
      await until(async () => {
        for (const { begun } of await waiting()) tries.add(begun);
        return tries.size >= 2;
      }, 'the second try');
      await client.query('commit');
      expect((await repairing).counts.mended).toBe(1);
    });
    expect(await find()).toEqual([]);
  });

  it('gives up on what stays locked, and goes on with the rest', async () => {
    await database.superuser(
      `alter table tenant_acme.users disable row level security;
       alter table tenant_acme.orders disable row level security`,
    );
    const repairer = impatient({ timeoutMs: 20, pauseMs: 1 }, { timeoutMs: 20, pauseMs: 1 });
    await holding(database, 'lock table tenant_acme.orders in access share mode', async () => {
      const { results } = await repair(await find(), repairer);
      expect(results).toMatchObject([
        { finding: { name: 'orders' }, outcome: 'failed', error: expect.stringContaining('lock timeout') },
        { finding: { name: 'users' }, outcome: 'mended' },
      ]);
    });
    expect((await repair(await find())).counts.mended).toBe(1);
  });

  it('tells what is left of a build that met somebody, and mends it the next time', async () => {
    await database.superuser('drop index tenant_acme.products_name_idx');
    const repairer = impatient({ timeoutMs: 50, pauseMs: 1 });
    // A build waits for every transaction that could still want the table as it was.
    await holding(database, 'lock table tenant_acme.products in row exclusive mode', async () => {
      const { results } = await repair(await find(), repairer);
      expect(results).toMatchObject([{ outcome: 'failed', error: expect.stringContaining('lock timeout') }]);
    });
    expect(wordsOf(await find())).toEqual([
      'tenant_acme: the index products_name_idx is invalid: its build has not come to its end',
    ]);
    expect((await repair(await find())).counts.mended).toBe(1);
    expect(await find()).toEqual([]);
  });

  it('makes anew the order of a ledger that lacks a step in between, and keeps what is known of the others', async () => {
    const rows = () =>
      database.superuser(`select name, batch, migration_time from tenant_acme.knex_migrations order by id`);
    const before = await rows();
    await database.superuser(`delete from tenant_acme.knex_migrations where name like '0001%'`);
    await repair(await find());
    const after = await rows();
    expect(after).toHaveLength(before.length);
    expect(after.slice(1)).toEqual(before.slice(1));
    expect(await find()).toEqual([]);
  });

  it('begins with what keeps tenants apart, and ends with references', async () => {
    await database.superuser(
      `drop index tenant_acme.products_name_idx;
       alter table tenant_acme.orders drop constraint orders_pkey cascade;
       alter table tenant_acme.products alter column version drop default;
       grant delete on tenant_acme.products to tenantry_app;
       drop policy tenant_isolation on tenant_acme.products;
       alter table tenant_acme.products disable row level security`,
    );
    const { results } = await repair(await find());
    expect(only(results.map(({ finding }) => finding))).toEqual([
      'products',
      'products.tenant_isolation',
      'products to tenantry_app',
      'products.version',
      'products_name_idx',
      'orders.orders_pkey',
      'order_lines.order_lines_order_id_fkey',
    ]);
    expect(results.map(({ outcome }) => outcome)).toEqual(results.map(() => 'mended'));
    expect(await find()).toEqual([]);
  });

  it('is written down, with what was wrong and what was executed', async () => {
    await database.superuser('alter table tenant_acme.users disable row level security');
    await repair(await find());
    const [event] = await database.superuser<{ tenant: string; actor: string; after: object }>(
      `select tenant, actor_kind || ' ' || actor_id as actor, after from control.audit_events
       where action = 'migrations.repair' order by created_at desc limit 1`,
    );
    const [tenant] = await database.superuser<{ id: string }>('select id from control.tenants');
    expect(event).toMatchObject({
      tenant: tenant?.id,
      actor: 'platform cli',
      after: {
        schema: acme,
        object: 'row security',
        found: 'row level security of users is disabled, but forced there, enabled and forced is expected',
        statements: ['alter table "users" enable row level security'],
      },
    });
  });

  it('holds the lease of the fleet, and is a run that others see', async () => {
    await database.superuser('alter table tenant_acme.users disable row level security');
    const findings = await find();
    await withConnection(database.superuserUrl(), async (client) => {
      await client.query('begin; lock table tenant_acme.users in access share mode');
      const repairing = repair(findings);
      await until(async () => (await waiting()).length > 0, 'the repair to wait');
      await expect(repair(findings)).rejects.toMatchObject({ code: 'run_under_way' });
      expect((await fleet.control.fleet.status()).run).toMatchObject({
        status: 'running',
        requestedBy: 'cli, repair',
      });
      await client.query('commit');
      expect((await repairing).counts.mended).toBe(1);
    });
    expect((await fleet.control.fleet.status()).run).toBeNull();
    const runs = await database.superuser(
      `select status, reason from control.migration_runs order by created_at desc limit 1`,
    );
    expect(runs).toEqual([{ status: 'succeeded', reason: null }]);
  });

  it('ends when it is asked to', async () => {
    await database.superuser(
      `alter table tenant_acme.orders disable row level security;
       alter table tenant_acme.users disable row level security`,
    );
    const findings = await find();
    await withConnection(database.superuserUrl(), async (client) => {
      await client.query('begin; lock table tenant_acme.orders in access share mode');
      const repairing = repair(findings);
      await until(async () => (await waiting()).length > 0, 'the repair to wait');
      await fleet.control.fleet.ask('cancel', command);
      await until(
        async () => (await database.superuser(heardAfterAsking)).length > 0,
        'the lease to be renewed after that',
      );
      await client.query('commit');
      expect((await repairing).counts).toMatchObject({ mended: 1, skipped: 1 });
    });
    expect((await repair(await find())).counts.mended).toBe(1);
  });

  it('skips all when it is interrupted', async () => {
    await database.superuser('alter table tenant_acme.users disable row level security');
    const findings = await find();
    const signal = AbortSignal.abort();
    const { counts } = await fleet.control.repairer.repair(findings, { author: command, signal });
    expect(counts).toMatchObject({ mended: 0, skipped: 1 });
    expect((await repair(findings)).counts.mended).toBe(1);
  });

  it('leaves a schema alone where another runner is at work', async () => {
    await database.superuser(
      'alter table tenant_acme.users disable row level security; drop index tenant_acme.products_name_idx',
    );
    const repairer = impatient({ timeoutMs: 50, pauseMs: 1 });
    const claim = `select pg_advisory_xact_lock(hashtextextended('tenantry migrate tenant_acme', 0))`;
    await holding(database, claim, async () => {
      const { results } = await repair(await find(), repairer);
      expect(results.map(({ error }) => error)).toEqual([
        'Another runner is at work in this schema.',
        'Another runner is at work in this schema.',
      ]);
    });
    expect((await repair(await find())).counts.mended).toBe(2);
  });

  /** A row of the tenant acme. @returns its id */
  async function insert(table: string, row: Record<string, unknown>): Promise<string> {
    const [made] = await database.superuser<{ id: string }>(
      `insert into tenant_acme.${table} (tenant_id, id, ${Object.keys(row).join(', ')})
       select id, gen_random_uuid(), ${Object.keys(row)
         .map((_, at) => `$${at + 1}`)
         .join(', ')} from control.tenants
       where slug = 'acme' returning id`,
      Object.values(row),
    );
    return made?.id ?? '';
  }

  /** A heartbeat has told the repair what is wanted of it. */
  const heardAfterAsking = `select from control.migration_lease l join control.audit_events e
    on e.action = 'migrations.cancel' and l.heartbeat_at > e.created_at + interval '1.2 seconds'`;

  /** Transactions that wait for a lock. */
  const waiting = () =>
    database.superuser<{ begun: string }>(
      `select xact_start::text as begun from pg_stat_activity
       where datname = current_database() and application_name like 'tenantry-migrate%' and wait_event_type = 'Lock'`,
    );
});
