import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { once } from 'node:events';
import { createServer, request, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Writable } from 'node:stream';
import type { ExportProgress, ExportReport } from '../../src/control/tenants/export.ts';
import { withConnection } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { stepsOf } from '../support/ladders.ts';
import { expectProblem } from '../support/problem.ts';
import { replicasFresh, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { exportOf, exporterOf, taken } from '../support/transfer.ts';
import { until } from '../support/until.ts';
import { unchanged } from '../support/untouched.ts';

const database = useDatabase();
const service = useTenantry(database);

let tenant: TestTenant;
let large: TestTenant;
const largeRows = 60_000;
beforeAll(async () => {
  tenant = await service.onboard('small', 'shared');
  large = await service.onboard('large', 'schema');
  // Some 40 MB, far more than sockets and buffers can hold.
  await database.superuser(
    `insert into tenant_large.products (tenant_id, id, sku, name, description, price_cents, currency, stock)
     select $1, gen_random_uuid(), 'sku-' || n, 'x', repeat('x', 400), 1, 'USD', 1 from generate_series(1, $2::int) n`,
    [large.id, largeRows],
  );
  await database.caughtUp();
  await replicasFresh(service);
});

/** Of all servers; a replica's are asked there. */
async function snapshots(): Promise<{ state: string; wait: string | null }[]> {
  const text = `select state, wait_event as wait from pg_stat_activity
    where application_name = 'tenantry-snapshot' and datname = current_database() and state <> 'idle'`;
  const [one, other] = await Promise.all([database.app(text), database.app(text, [], 0)]);
  return [...one, ...other] as { state: string; wait: string | null }[];
}

/** Takes the first bytes, and then nothing until it is told to. */
function stallingSink() {
  let release: (() => void) | undefined;
  let released = false;
  let bytes = 0;
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (released) done();
      else release = done;
    },
  });
  return {
    sink,
    bytes: () => bytes,
    release() {
      released = true;
      release?.();
    },
  };
}

describe('POST /admin/v1/tenants/:id/export', () => {
  it('answers with the rows of one moment as NDJSON, by slug or id, and changes nothing', async () => {
    await tenant.client
      .post('/v1/products')
      .send({ sku: 'A', name: 'A', priceCents: 1, stock: 1 })
      .expect(201);
    const download = async () => {
      const answer = await service.operator().post('/admin/v1/tenants/small/export').buffer(true).expect(200);
      expect(answer.headers).toMatchObject({
        'content-type': 'application/x-ndjson',
        'content-disposition': 'attachment; filename=small.ndjson',
        'cache-control': 'private, no-store',
      });
    };
    await unchanged(database, download, { butEvents: true });
    const events = `/admin/v1/audit-events?filter[action]=tenants.export&filter[tenant]=${tenant.id}`;
    expect((await service.operator().get(events).expect(200)).body.data).toMatchObject([
      { resourceId: tenant.id, actor: { kind: 'platform' } },
    ]);
    const { manifest, rows, trailer } = taken(await exportOf(service, tenant.id));
    expect(manifest).toMatchObject({
      format: 'tenantry',
      version: 1,
      tenant: { id: tenant.id, slug: 'small', name: 'small', isolation: 'shared', limits: {} },
      migrations: await stepsOf('tenant'),
    });
    // Whoever is referred to comes first.
    const places = Object.fromEntries(manifest.tables.map(({ name }, index) => [name, index]));
    for (const [table, target] of [
      ['orders', 'users'],
      ['order_lines', 'orders'],
      ['order_lines', 'products'],
    ] as const) {
      expect(places[target]).toBeLessThan(Number(places[table]));
    }
    expect(rows.filter(({ table }) => table === 'products').map(({ row }) => row['sku'])).toEqual(['A']);
    expect(trailer.tables.find(({ name }) => name === 'products')).toMatchObject({ rows: 1 });
  });

  it('is for operators, for tenants that are there, and takes no body', async () => {
    const path = '/admin/v1/tenants/small/export';
    expectProblem(await service.admin().post(path), 401, 'unauthenticated');
    expectProblem(
      await service.admin().auth(tenant.token, { type: 'bearer' }).post(path),
      401,
      'unauthenticated',
    );
    expectProblem(await service.operator().post('/admin/v1/tenants/nobody/export'), 404, 'not_found');
    expectProblem(await service.operator().get(path), 405, 'method_not_allowed');
    expectProblem(await service.operator().post(path).send({ since: 'ever' }), 400, 'invalid_input');
  });
});

describe('a migration meanwhile', () => {
  it('waits for what is being read', async () => {
    const { snapshots } = service.tenantry.data;
    const options = { tables: ['products'], primaryOnly: true };
    await snapshots.withSnapshot(large.scope.tenant, options, async () => {
      const altering = database.superuser(
        `set lock_timeout = '50ms'; alter table tenant_large.products add column colour text`,
      );
      await expect(altering).rejects.toMatchObject({ code: '55P03' });
    });
  });

  /** Exports while `change` holds the table, which the export has to wait for. */
  async function exportBehind(change: string, sink: Writable): Promise<ExportReport> {
    return withConnection(database.superuserUrl(), async (client) => {
      await client.query('begin; lock table tenant_large.products in access exclusive mode');
      const exporting = exporterOf(service, database).exportTenant('large', { sink, primaryOnly: true });
      exporting.catch(() => undefined); // it is awaited below
      await until(async () => {
        const waiting = await database.superuser(
          `select from pg_stat_activity where application_name = 'tenantry-snapshot' and wait_event_type = 'Lock'
             and datname = current_database()`,
        );
        return waiting.length > 0;
      }, 'the export to wait for the table');
      await client.query(`${change}; commit`);
      return exporting;
    });
  }

  it('that writes a table anew, before the export, loses none of its rows', async () => {
    const all = new Writable({ write: (_chunk, _encoding, done) => done() });
    const report = await exportBehind('alter table tenant_large.products alter stock type bigint', all);
    expect(report.tables.find(({ name }) => name === 'products')).toMatchObject({ rows: largeRows });
    await database.superuser('alter table tenant_large.products alter stock type integer');
    await database.caughtUp();
  });

  it('that has come between makes the export begin again', async () => {
    const sink = new Writable({
      write: (_chunk, _encoding, done) => done(new Error('nothing is to be written')),
    });
    const migration = `alter table tenant_large.products add column colour text;
      insert into control.migration_ledger (schema_name, migration, duration_ms) values ('tenant_large', '0009_colour', 1)`;
    await expect(exportBehind(migration, sink)).rejects.toMatchObject({ code: 'tenant_migrating' });
    await database.superuser(`delete from control.migration_ledger where migration = '0009_colour'`);
    await database.superuser('alter table tenant_large.products drop column colour');
    await database.caughtUp();
  });
});

describe('an export whose taker is slow', () => {
  it('waits, PostgreSQL with it, and ends complete when it is taken on', async () => {
    const { sink, bytes, release } = stallingSink();
    const exporter = exporterOf(service, database);
    let last: ExportProgress | undefined;
    const exporting = exporter.exportTenant('large', {
      sink,
      onProgress: (progress) => {
        last = progress;
      },
    });
    await until(
      async () => (await snapshots()).some(({ wait }) => wait === 'ClientWrite'),
      'PostgreSQL to wait for us',
    );
    // Of 40 MB: what has been read and not taken is less than two.
    expect((last?.bytes ?? 0) - bytes()).toBeLessThan(2_000_000);
    expect(bytes()).toBeLessThan(2_000_000);
    release();
    const report = await exporting;
    expect(report.tables.find(({ name }) => name === 'products')).toMatchObject({ rows: largeRows });
    expect(bytes()).toBe(report.bytes);
    expect(report.bytes).toBeGreaterThan(30_000_000);
    expect(report.node).toBe('replica-1');
    await until(async () => (await snapshots()).length === 0, 'the snapshot to end');
  });

  it('is given up when its taker says so, at once, and leaves no snapshot open', async () => {
    // More often than there are connections for it.
    for (let round = 0; round < 3; round += 1) {
      const { sink } = stallingSink();
      const given = new AbortController();
      const exporting = exporterOf(service, database).exportTenant('large', { sink, signal: given.signal });
      await until(async () => (await snapshots()).some(({ wait }) => wait === 'ClientWrite'), 'the wait');
      given.abort(new Error('not any more'));
      await expect(exporting).rejects.toThrow('not any more');
      await until(async () => (await snapshots()).length === 0, 'the snapshot to end');
    }
  });

  it('is given up when what it is written to fails', async () => {
    const sink = new Writable({ write: (_chunk, _encoding, done) => done(new Error('the disk is full')) });
    const exporting = exporterOf(service, database).exportTenant('large', { sink });
    await expect(exporting).rejects.toThrow('the disk is full');
    await until(async () => (await snapshots()).length === 0, 'the snapshot to end');
  });
});

describe('a client that goes away', () => {
  let server: Server;
  beforeAll(async () => {
    const { adminApp } = service.tenantry;
    if (adminApp === undefined) throw new Error('There is no admin app');
    server = createServer(adminApp).listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterAll(() => {
    server.close();
    server.closeAllConnections();
  });

  it('lets go of the snapshot, again and again, and the next export is whole', async () => {
    const login = await service
      .admin()
      .post('/admin/v1/auth/login')
      .send({ email: 'operator@tenantry.test', password: 'operator of tests' });
    const { accessToken } = login.body as { accessToken: string };
    const { port } = server.address() as AddressInfo;
    for (let round = 0; round < 4; round += 1) {
      const outgoing = request({
        port,
        method: 'POST',
        path: '/admin/v1/tenants/large/export',
        headers: { Authorization: `Bearer ${accessToken}` },
      });
      outgoing.on('error', () => undefined);
      outgoing.end();
      const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
      expect(answer.statusCode).toBe(200);
      await until(async () => (await snapshots()).some(({ wait }) => wait === 'ClientWrite'), 'the wait');
      answer.on('error', () => undefined);
      outgoing.destroy();
      await until(async () => (await snapshots()).length === 0, 'the snapshot to end');
    }
    expect(taken(await exportOf(service, 'small')).manifest.tenant['slug']).toBe('small');
  });
});
