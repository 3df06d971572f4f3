import { beforeAll, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { type TestTenant, useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
const service = useTenantry(database, { env: { DATABASE_POOL_MAX: '2', DATABASE_REPLICA_URLS: '' } });

let tenant: TestTenant;
beforeAll(async () => {
  tenant = await service.onboard('limited', 'schema');
});

const db = () => service.tenantry.data.db;

it('time limits are in force on every connection', async () => {
  const settings = `select current_setting('statement_timeout') as statement, current_setting('lock_timeout') as lock,
    current_setting('idle_in_transaction_session_timeout') as idle`;
  const inForce = await db().read(tenant.scope, (session) => session.query(settings));
  expect(inForce).toEqual([{ statement: '15s', lock: '5s', idle: '10s' }]);
});

it('with all connections taken, a request is told to come back after the acquire time-out', async () => {
  const hold = () => db().read(tenant.scope, (session) => session.query('select pg_sleep(10)'));
  const held = [hold(), hold()];
  const startedMs = performance.now();
  const { status, body, headers } = await tenant.client.get('/v1/me');
  expect(performance.now() - startedMs).toBeLessThan(8500); // once for the tenant, once for its user
  expect({ status, code: (body as { code: string }).code }).toEqual({ status: 503, code: 'unavailable' });
  expect(headers['retry-after']).toBe('1');
  await Promise.all(held);
  await tenant.client.get('/v1/me').expect(200);
});

it('a server that takes no more connections is 503, and fine again when it does', async () => {
  const [{ name } = { name: '' }] = await database.superuser<{ name: string }>(
    'select current_database() as name',
  );
  await database.superuser(
    `select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity
     where datname = current_database() and application_name = 'tenantry'`,
  );
  await database.superuser(`alter database ${name} connection limit 0`);
  try {
    const { status, headers } = await tenant.client.get('/v1/me');
    expect(status).toBe(503);
    expect(headers['retry-after']).toBe('1');
  } finally {
    await database.superuser(`alter database ${name} connection limit -1`);
  }
  await service.tenantry.data.db.ping();
  await tenant.client.get('/v1/me').expect(200);
});
