import { afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { Writable } from 'node:stream';
import type { ExportReport } from '../../src/control/tenants/export.ts';
import { killChildren, builtProgram, start } from '../support/child.ts';
import { withConnection } from '../support/connection.ts';
import { useFolder } from '../support/folder.ts';
import { useCluster } from '../support/own-cluster.ts';
import { replicasFresh, testSecret, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { exporterOf, taken } from '../support/transfer.ts';
import { until } from '../support/until.ts';

jest.setTimeout(60_000);

const own = useCluster({ replicas: 1 });
const service = useTenantry(own.database);
const folder = useFolder();
afterEach(killChildren);

let tenant: TestTenant;
beforeAll(async () => {
  tenant = await service.onboard('exported', 'schema');
  await own.database.superuser(
    `insert into tenant_exported.products (tenant_id, id, sku, name, description, price_cents, currency, stock)
     select $1, gen_random_uuid(), 'bulk-' || n, 'x', repeat('x', 400), 1, 'USD', 1 from generate_series(1, 40000) n`,
    [tenant.id],
  );
  await withConnection(String(own.cluster.replicaUrls[0]), async (replica) => {
    await replica.query(`alter system set max_standby_streaming_delay = '100ms'`);
    await replica.query('alter system set hot_standby_feedback = off');
    await replica.query('select pg_reload_conf()');
  });
  await own.cluster.caughtUp();
  await replicasFresh(service);
});

/** Whether the export has this product, and what it reported. */
async function exportedWith(sku: string): Promise<ExportReport & { found: boolean }> {
  let found = false;
  let rest = '';
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      const text = rest + chunk.toString();
      found ||= text.includes(`"sku":"${sku}"`);
      rest = text.slice(-100);
      done();
    },
  });
  const report = await exporterOf(service, own.database).exportTenant('exported', { sink });
  return { ...report, found };
}

const make = (sku: string) =>
  tenant.client.post('/v1/products').send({ sku, name: 'x', priceCents: 1, stock: 1 }).expect(201);

/** Locked on the primary for a moment, and on the replica once that is replayed. */
const lock = () =>
  own.database.superuser('begin; lock table tenant_exported.products in access exclusive mode; commit');

describe('an export', () => {
  it('has what was acknowledged just before it, and is read from the replica', async () => {
    for (let round = 0; round < 5; round += 1) {
      await make(`just-${round}`);
      expect(await exportedWith(`just-${round}`)).toMatchObject({ found: true, node: 'replica-1' });
    }
  });

  it('has it, too, when the replica does not come level with the primary: the primary is read', async () => {
    await own.cluster.pauseReplay(0, async () => {
      await make('held-back');
      expect(await exportedWith('held-back')).toMatchObject({ found: true, node: 'primary' });
    });
    await replicasFresh(service);
  });

  it('is one moment: what is written while it runs is not in it', async () => {
    let later = false;
    let text = '';
    const sink = new Writable({
      write(chunk: Buffer, _encoding, done) {
        text += chunk.toString();
        if (later) return done();
        later = true;
        // Users are read after the products.
        const user = { email: 'later@exported.test', password: 'a password of tests' };
        const writing = Promise.all([make('later'), tenant.client.post('/v1/users').send(user).expect(201)]);
        void writing.then(() => done(), done);
      },
    });
    await exporterOf(service, own.database).exportTenant('exported', { sink, primaryOnly: true });
    expect(text).toContain('"email":"owner@exported.test"');
    expect(text).not.toContain('later');
  });

  it('that the replica gives up half-way fails in clear words, without a trailer', async () => {
    await own.cluster.caughtUp();
    await replicasFresh(service);
    let text = '';
    let release: (() => void) | undefined;
    let released = false;
    const sink = new Writable({
      write(chunk: Buffer, _encoding, done) {
        text += chunk.toString();
        if (released) done();
        else release = done;
      },
    });
    const exporting = exporterOf(service, own.database).exportTenant('exported', { sink });
    const outcome = expect(exporting).rejects.toMatchObject({
      code: 'unavailable',
      message: 'The replica gave up half-way, and what is missing cannot be had elsewhere.',
      cause: { code: '40001' },
    });
    await until(() => release !== undefined, 'the first bytes');
    await lock();
    await withConnection(String(own.cluster.replicaUrls[0]), (replica) =>
      until(async () => {
        const { rows } = await replica.query(
          `select from pg_stat_activity where backend_type = 'startup' and wait_event_type = 'Lock'
           union all select from pg_stat_activity
           where backend_type = 'startup' and wait_event like 'RecoveryConflict%'`,
        );
        return rows.length > 0;
      }, 'replay to stand before the lock'),
    );
    released = true;
    release?.();
    await outcome;
    expect(text).toContain('{"manifest":');
    expect(text).not.toContain('{"trailer":');
    await own.cluster.caughtUp();
    await replicasFresh(service);
    expect((await exportedWith('later')).found).toBe(true);
  });
});

it('into a file is written anew from the primary when the replica gives it up half-way', async () => {
  // Read after the products, whose lines have been written by then; slow on a replica only.
  await own.database.superuser(`
    create table tenant_exported.zz (like tenant_exported.counters including all);
    alter table tenant_exported.zz owner to tenantry_owner;
    alter table tenant_exported.zz enable row level security;
    alter table tenant_exported.zz force row level security;
    create policy slow on tenant_exported.zz using (not pg_is_in_recovery() or (select pg_sleep(20)) is not null);
    grant select on tenant_exported.zz to tenantry_app;
    insert into tenant_exported.zz (tenant_id, id, name, value) values ('${tenant.id}', '${tenant.id}', 'x', 1)`);
  await own.cluster.caughtUp();
  await replicasFresh(service);
  const child = start(builtProgram(), ['tenant', 'export', 'exported', '--output', 'exported.ndjson'], {
    env: { ...own.database.env(), JWT_SECRET: testSecret, LOG_LEVEL: 'silent' },
    cwd: folder(),
  });
  await until(async () => {
    const rows = await own.database.app(`select from pg_stat_activity where wait_event = 'PgSleep'`, [], 0);
    return rows.length > 0;
  }, 'that table to be read on the replica');
  await lock();
  const { code, stdout, stderr } = await child.ended();
  expect(code).toBe(0);
  expect(stderr).toContain('The replica gave up half-way');
  expect(stdout).toMatch(/^exported exported from primary: /);
  const { manifest, rows, trailer } = taken(await readFile(path.join(folder(), 'exported.ndjson'), 'utf8'));
  expect(manifest.tables.map(({ name }) => name)).toContain('zz');
  expect(rows).toHaveLength(trailer.tables.reduce((sum, table) => sum + table.rows, 0));
  await own.database.superuser('drop table tenant_exported.zz');
});

describe('a snapshot', () => {
  it('that may be taken again is, on the primary, when the replica cancels it', async () => {
    await own.cluster.caughtUp();
    await replicasFresh(service);
    const nodes: string[] = [];
    const reading = service.tenantry.data.snapshots.withSnapshot(
      tenant.scope.tenant,
      { tables: ['products'], repeatable: () => true },
      (snapshot) => {
        nodes.push(snapshot.node);
        return snapshot.query(`select count(*) as n from products
          where sku = 'later' and (pg_is_in_recovery() is false or (select pg_sleep(20)) is not null)`);
      },
    );
    await until(async () => {
      const rows = await own.database.app(`select from pg_stat_activity where wait_event = 'PgSleep'`, [], 0);
      return rows.length > 0;
    }, 'the snapshot to be read');
    await lock();
    expect(await reading).toEqual([{ n: 1 }]);
    expect(nodes).toEqual(['replica-1', 'primary']);
  });

  it('is refused in time while the primary, which alone knows what was acknowledged, is gone', async () => {
    await own.cluster.kill('primary');
    const reading = service.tenantry.data.snapshots.withSnapshot(tenant.scope.tenant, { tables: [] }, () =>
      Promise.resolve('read'),
    );
    await expect(reading).rejects.toMatchObject({ code: 'unavailable' });
    await own.cluster.restart('primary');
  });
});
