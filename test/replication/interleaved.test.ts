import { beforeAll, describe, expect, it, jest } from '@jest/globals';
import type { TenantScope, WriteSession } from '../../src/db/index.ts';
import { useDatabase } from '../support/database.ts';
import { replicasFresh, startTenantry, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

jest.setTimeout(60_000);

const database = useDatabase();
const poolMax = 3;
const service = useTenantry(database, { env: { DATABASE_POOL_MAX: String(poolMax) } });

const tenants: TestTenant[] = [];
beforeAll(async () => {
  for (const [slug, isolation] of [
    ['mixed_one', 'shared'],
    ['mixed_two', 'shared'],
    ['mixed_own', 'schema'],
    ['mixed_own_2', 'schema'],
  ] as const)
    tenants.push(await service.onboard(slug, isolation));
  await database.caughtUp();
  await replicasFresh(service);
});

const insertion = `insert into products (tenant_id, id, sku, name, price_cents, currency, stock)
  values ($1, gen_random_uuid(), $2, $3, 1, 'USD', 1) returning sku, name`;

interface Product {
  sku: string;
  name: string;
}

/** What is thrown by units of work on purpose. */
class Wanted extends Error {}

/** Ways to fail; what is inserted together with them must be gone. */
const failures: ((session: WriteSession) => Promise<unknown>)[] = [
  (session) => session.query('select 1 / $1::int', [0]),
  (session) => session.query('selec'),
  (session) => session.query('select $1::uuid', ['x']),
  (session) => session.query('select $1::text', [{ toPostgres: refuse }]),
  (session) => session.query('update products set stock = -1'),
  (session) => session.query('select pg_terminate_backend(pg_backend_pid())'),
  refuse,
  // Swallowed, which PostgreSQL does not forgive.
  (session) => session.query('select 1 / 0').catch(() => undefined),
];

function refuse(): never {
  throw new Wanted('on purpose');
}

it('thousands of units of several tenants on few connections, many of which fail: no wrong row, none missing, none too many', async () => {
  const { db } = service.tenantry.data;
  const expected = new Map(tenants.map(({ id }) => [id, new Set<string>()]));
  const wrong: string[] = [];
  let failed = 0;
  let units = 0;

  async function work(tenant: TestTenant, actor: string, n: number): Promise<void> {
    const scope: TenantScope = {
      ...tenant.scope,
      actor: { kind: 'user', id: actor },
      consistency: { level: { kind: 'session' } },
    };
    const name = `of ${tenant.slug}`;
    const insert = (session: WriteSession, sku: string) =>
      session.query<Product>(insertion, [tenant.id, sku, name]);
    const mine = new Set<string>();
    for (let round = 0; round < 75; round += 1) {
      const sku = `${actor}-${round}`;
      const fail = failures[(7 * round + n) % (3 * failures.length)];
      units += 2;
      try {
        if (fail !== undefined) {
          await db.write(scope, async (session) => {
            await insert(session, sku);
            return fail(session);
          });
          wrong.push(`${sku} did not fail`);
        } else if (round % 2 === 0) {
          await db.writeOne(scope, (session) => insert(session, sku));
          mine.add(sku);
        } else {
          await db.write(scope, async (session) => {
            await insert(session, `${sku}-a`);
            await insert(session, `${sku}-b`);
          });
          mine.add(`${sku}-a`).add(`${sku}-b`);
        }
      } catch (error) {
        failed += 1;
        // A connection that another unit's end took along would be a failure of one that was to succeed.
        if (fail === undefined) wrong.push(`${sku} failed: ${String(error)}`);
      }
      const rows = await db.read(scope, (session) =>
        session.query<Product>('select sku, name from products'),
      );
      const found = new Set(rows.map((row) => row.sku));
      wrong.push(
        ...rows.filter((row) => row.name !== name).map((row) => `${row.sku} ${row.name} read by ${name}`),
      );
      wrong.push(...[...mine].filter((own) => !found.has(own)).map((own) => `${own} not read`));
    }
    for (const sku of mine) expected.get(tenant.id)?.add(sku);
  }

  await Promise.all(
    tenants.flatMap((tenant) => Array.from({ length: 6 }, (_, n) => work(tenant, `${tenant.slug}-${n}`, n))),
  );
  expect(wrong).toEqual([]);
  expect(units).toBe(3600);
  expect(failed).toBeGreaterThan(300);
  for (const { id, slug, isolation } of tenants) {
    const schema = isolation === 'shared' ? 'shared' : `tenant_${slug}`;
    const rows = await database.superuser<Product>(
      `select sku from ${schema}.products where tenant_id = $1 order by sku`,
      [id],
    );
    expect(rows.map(({ sku }) => sku).toSorted()).toEqual([...(expected.get(id) ?? [])].toSorted());
  }
  await until(
    () => db.nodes().every(({ pool }) => pool.inUse === 0 && pool.waiting === 0),
    'all connections to be back',
  );
  for (const { pool } of db.nodes()) expect(pool.idle).toBeLessThanOrEqual(poolMax);
});

describe('a table whose columns change their type under a running service', () => {
  it.each(['on', 'off'])('costs no request (prepared statements %s)', async (prepared) => {
    const own = await startTenantry(database, { env: { DATABASE_PREPARED_STATEMENTS: prepared } });
    try {
      const tenant = await own.onboard(`ddl_${prepared}`, 'schema');
      await database.caughtUp();
      await replicasFresh(own);
      const products = `tenant_ddl_${prepared}.products`;
      const { body } = await tenant.client
        .post('/v1/products')
        .send({ sku: 'A', name: 'x', priceCents: 1, stock: 1 })
        .expect(201);
      const { id } = body as { id: string };
      const over = new AbortController();
      let done = 0;
      const working = Array.from({ length: 4 }, async (_, n) => {
        for (let round = 0; !over.signal.aborted; round += 1) {
          const sku = `${n}-${round}`;
          await tenant.client
            .post('/v1/products')
            .send({ sku, name: 'x', priceCents: 1, stock: 1 })
            .expect(201);
          await tenant.client.patch(`/v1/products/${id}`).send({ stock: round }).expect(200);
          await tenant.client.get(`/v1/products/${id}`).expect(200);
          done += 1;
        }
      });
      const more = async () => {
        const goal = done + 20;
        await until(() => done >= goal, '20 more rounds');
      };
      try {
        await more();
        for (const type of ['bigint', 'integer', 'smallint', 'integer']) {
          await database.superuser(`alter table ${products} alter column stock type ${type}`);
          await more();
          await database.superuser(
            `alter table ${products} add column extra_${Math.round(done)} int default 1`,
          );
          await more();
        }
      } finally {
        over.abort();
        await Promise.all(working);
      }
      await replicasFresh(own);
    } finally {
      await own.tenantry.stop();
    }
  });
});
