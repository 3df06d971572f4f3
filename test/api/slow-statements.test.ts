import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { createTestClock } from '../support/clock.ts';
import { useDatabase } from '../support/database.ts';
import { createLogLines } from '../support/log-lines.ts';
import { startTenantry, type TestTenant, type TestTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

const database = useDatabase();
const log = createLogLines();
const clock = createTestClock();
const running: TestTenantry[] = [];

/** On the primary alone: a lock there would reach a replica a moment later. */
async function start(env: Record<string, string>): Promise<TestTenantry> {
  const service = await startTenantry(database, {
    env: { DATABASE_REPLICA_URLS: '', ...env },
    overrides: { logger: log.logger, clock },
  });
  running.push(service);
  return service;
}

afterAll(async () => {
  await Promise.all(running.map(({ tenantry }) => tenantry.stop()));
});

const slowLines = () => log.lines().filter(({ msg }) => msg === 'a slow statement');

/** Has what is begun wait for the table, and lets the time that a service measures pass meanwhile. */
async function heldUp(ms: number, begin: () => PromiseLike<unknown>): Promise<void> {
  const holder = new Client({ connectionString: database.superuserUrl() });
  await holder.connect();
  try {
    await holder.query('begin; lock table shared.products in access exclusive mode');
    const begun = Promise.resolve(begin());
    await until(async () => {
      const [row] = await database.superuser<{ n: number }>(
        `select count(*)::int as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      );
      return row?.n === 1;
    }, 'a statement to wait for the lock');
    clock.advance(ms);
    await holder.query('commit');
    await begun;
  } finally {
    await holder.end();
  }
}

describe('a statement', () => {
  let service: TestTenantry;
  let tenant: TestTenant;
  beforeAll(async () => {
    service = await start({});
    tenant = await service.onboard('slow_test', 'shared');
  });

  it('that takes SLOW_QUERY_MS or longer is logged once: by name, with node, tenant and request', async () => {
    const seen = slowLines().length;
    await heldUp(700, () =>
      tenant.client.get('/v1/products?filter[name]=Personal').set('X-Request-Id', 'slow-one').expect(200),
    );
    const lines = slowLines().slice(seen);
    expect(lines).toEqual([
      expect.objectContaining({
        level: 40,
        statement: 'products.page',
        node: 'primary',
        reason: 'no-replica',
        ms: expect.any(Number),
        tenant: tenant.id,
        requestId: 'slow-one',
      }),
    ]);
    expect(lines[0]?.['ms']).toBeGreaterThanOrEqual(700);
    expect(JSON.stringify(lines)).not.toContain('Personal');
  });

  it('that is quicker is not', async () => {
    const seen = slowLines().length;
    await heldUp(0, () => tenant.client.get('/v1/products').expect(200));
    expect(slowLines()).toHaveLength(seen);
  });

  it('without a name of its own is logged by its first words; of an error only the code is told', async () => {
    await tenant.client
      .post('/v1/products')
      .send({ sku: 'S', name: 'Personal', priceCents: 1, stock: 1 })
      .expect(201);
    const seen = slowLines().length;
    const { db } = service.tenantry.data;
    // PostgreSQL quotes the name that is no number.
    const text = 'select name::int from products where name = $1';
    await heldUp(700, () => {
      const slow = db.read(tenant.scope, (session) => session.query(text, ['Personal']));
      return expect(slow).rejects.toMatchObject({ code: 'invalid_input' });
    });
    const lines = slowLines().slice(seen);
    expect(lines).toEqual([
      expect.objectContaining({ statement: 'select products', tenant: tenant.id, error: '22P02' }),
    ]);
    expect(JSON.stringify(lines)).not.toContain('Personal');
  });

  it('is not logged at all with SLOW_QUERY_MS=0', async () => {
    const off = await start({ SLOW_QUERY_MS: '0' });
    const client = await off.login(tenant.slug, tenant.ownerEmail, 'a password of tests');
    const seen = slowLines().length;
    await heldUp(5000, () => client.get('/v1/products').expect(200));
    expect(slowLines()).toHaveLength(seen);
  });
});
