import { beforeAll, describe, expect, it } from '@jest/globals';
import type { Decision, TenantScope } from '../../src/db/index.ts';
import { useDatabase } from '../support/database.ts';
import { replicasFresh, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

const database = useDatabase();
const service = useTenantry(database);

const insertion = `insert into products (tenant_id, id, sku, name, price_cents, currency, stock)
  values ($1, gen_random_uuid(), 'FORCED', 'x', 1, 'USD', 1) returning id`;

let tenant: TestTenant;
beforeAll(async () => {
  tenant = await service.onboard('units', 'schema');
  await database.caughtUp();
  await replicasFresh(service);
});

/** The tenant's scope for an actor of its own, and where its units of work ran. */
function scopeOf(kind: 'strong' | 'session', actor: string): { scope: TenantScope; decisions: Decision[] } {
  const decisions: Decision[] = [];
  const consistency = { level: { kind }, served: (decision: Decision) => void decisions.push(decision) };
  return { scope: { ...tenant.scope, actor: { kind: 'user', id: actor }, consistency }, decisions };
}

const tainted = () => service.tenantry.data.db.nodes().map(({ pool }) => pool.tainted);

describe('a write through a read session', () => {
  it.each([
    ['strong', 'primary'],
    ['session', 'replica-1'],
  ] as const)('is refused with 25006 and leaves nothing behind (%s: %s)', async (level, node) => {
    const { db } = service.tenantry.data;
    const { scope, decisions } = scopeOf(level, `reader-${level}`);
    const before = tainted();
    await expect(db.read(scope, (session) => session.query(insertion, [tenant.id]))).rejects.toMatchObject({
      code: 'unavailable',
      cause: { code: '25006' },
    });
    expect(decisions.map((decision) => decision.node)).toEqual([node]);
    expect(await database.superuser(`select id from tenant_units.products where sku = 'FORCED'`)).toEqual([]);
    // The connection is as good as before, and the next unit of work finds nothing of this one.
    expect(tainted()).toEqual(before);
    const rows = await db.read(scope, (session) => session.query('select id from products'));
    expect(rows).toEqual([]);
  });
});

describe('connections that an administrator terminates', () => {
  it('while they are idle are replaced, and nobody sees it', async () => {
    const body = { sku: 'T-1', name: 'x', priceCents: 1, stock: 1 };
    await tenant.client.post('/v1/products').send(body).expect(201);
    for (let round = 0; round < 10; round += 1) {
      await Promise.all([
        tenant.client.get('/v1/products').expect(200),
        tenant.client.get('/v1/me').expect(200),
        tenant.client.get('/v1/orders').expect(200),
      ]);
      const [killed] = await database.superuser<{ n: number }>(
        `select count(pg_terminate_backend(pid, 5000))::int as n from pg_stat_activity
         where datname = current_database() and usename = 'tenantry_app'`,
      );
      expect(killed?.n).toBeGreaterThan(0);
      const written = tenant.client.post('/v1/products').send({ ...body, sku: `T-${round + 2}` });
      await Promise.all([written.expect(201), tenant.client.get('/v1/me').expect(200)]);
    }
  });

  it('in the middle of a unit of work fail that unit, and only that', async () => {
    const { db } = service.tenantry.data;
    const { scope } = scopeOf('strong', 'unlucky');
    const failing = db.write(scope, async (session) => {
      await session.query(insertion, [tenant.id]);
      const [own] = await session.query<{ pid: number }>('select pg_backend_pid() as pid');
      await database.superuser('select pg_terminate_backend($1, 5000)', [own?.pid]);
      return session.query('select 1');
    });
    await expect(failing).rejects.toMatchObject({ code: 'unavailable' });
    expect(await database.superuser(`select id from tenant_units.products where sku = 'FORCED'`)).toEqual([]);
    await until(() => service.tenantry.data.db.nodes()[0]?.state === 'fresh');
    await tenant.client.get('/v1/me').expect(200);
  });
});

describe('units of work that meet', () => {
  async function insertTwo(): Promise<[string, string]> {
    const make = async (sku: string) => {
      const answer = await tenant.client
        .post('/v1/products')
        .send({ sku, name: sku, priceCents: 1, stock: 0 })
        .expect(201);
      return (answer.body as { id: string }).id;
    };
    const suffix = Math.random();
    return [await make(`L-${suffix}`), await make(`R-${suffix}`)];
  }

  it('in a deadlock: the one that PostgreSQL rolled back is run again, and both take effect once', async () => {
    const { db } = service.tenantry.data;
    const ids = await insertTwo();
    const raise = 'update products set stock = stock + 1 where id = $1';
    let runs = 0;
    let arrived = 0;
    let release: () => void = () => undefined;
    const bothHoldOne = new Promise<void>((resolve) => {
      release = resolve;
    });
    const crossing = (first: string, second: string, actor: string) =>
      db.write(scopeOf('session', actor).scope, async (session) => {
        runs += 1;
        await session.query(raise, [first]);
        arrived += 1;
        if (arrived === 2) release();
        await bothHoldOne;
        await session.query(raise, [second]);
      });
    await Promise.all([crossing(ids[0], ids[1], 'one'), crossing(ids[1], ids[0], 'two')]);
    expect(runs).toBe(3);
    const rows = await database.superuser<{ stock: number }>(
      'select stock from tenant_units.products where id = any($1)',
      [ids],
    );
    expect(rows).toEqual([{ stock: 2 }, { stock: 2 }]);
  });

  it('again and again: it is given up after the third run, with a Retry-After', async () => {
    const { db } = service.tenantry.data;
    let runs = 0;
    const hopeless = db.write(scopeOf('session', 'hopeless').scope, async (session) => {
      runs += 1;
      await session.query(`do $$ begin raise exception 'x' using errcode = '40001'; end $$`);
    });
    await expect(hopeless).rejects.toMatchObject({ code: 'unavailable', retryAfterS: 1 });
    expect(runs).toBe(3);
  });
});
