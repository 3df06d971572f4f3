import { beforeAll, describe, expect, it } from '@jest/globals';
import { v7 as uuidv7 } from 'uuid';
import type { Decision, ReadSession, TenantScope, WriteSession } from '../../src/db/index.ts';
import { products } from '../../src/features/products/repository.ts';
import { withConnection } from '../support/connection.ts';
import { testPostgres, useDatabase } from '../support/database.ts';
import { useHoldings, type Holdings, skuOf } from '../support/holdings.ts';
import { sqlStateOf } from '../support/outcome.ts';
import { allRows, expectSameRows, othersRows, tenantTables } from '../support/rows.ts';
import { plantStrays } from '../support/stray.ts';
import { useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';
import { tenantTables as registered } from './registry.ts';

const database = useDatabase();
const service = useTenantry(database);
const db = () => service.tenantry.data.db;

/** Tenant → what it holds. The rows of the shared tenants are in every schema. */
const { holdings } = useHoldings(service);
let places: string[] = [];

beforeAll(async () => {
  await plantStrays(database);
  places = await tenantTables(database);
});

function of(slug: string): Holdings {
  const held = holdings[slug];
  if (held === undefined) throw new Error(`there is no tenant ${slug}`);
  return held;
}

const tables = Object.keys(registered);
/** Events may be changed by nobody: see test/api/audit.test.ts. */
const changeable = tables.filter((table) => table !== 'audit_events');
const notAllowed = '42501';
const product = (sku: string) => ({
  sku,
  name: sku,
  description: null,
  priceCents: 1,
  currency: 'USD',
  stock: 1,
});

async function tenantsIn(session: ReadSession, table: string): Promise<string[]> {
  const rows = await session.query<{ id: string }>(`select distinct tenant_id as id from ${table}`);
  return rows.map((row) => row.id);
}

describe.each([
  ['shared', 'ash', 'birch'],
  ['schema', 'cedar', 'ash'],
])('a session of a tenant with isolation %s', (_isolation, slug, neighbour) => {
  let scope: TenantScope;
  let own: Holdings;
  let foreign: Holdings;
  beforeAll(() => {
    own = of(slug);
    foreign = of(neighbour);
    scope = own.tenant.scope;
  });
  const read = <T>(fn: (session: ReadSession) => Promise<T>) => db().read(scope, fn);
  const write = <T>(fn: (session: WriteSession) => Promise<T>) => db().write(scope, fn);

  it.each(tables)('sees its own rows of %s and no others, reading and writing', async (table) => {
    expect(await read((session) => tenantsIn(session, table))).toEqual([scope.tenant.id]);
    expect(await write((session) => tenantsIn(session, table))).toEqual([scope.tenant.id]);
    expect(await db().writeOne(scope, (session) => tenantsIn(session, table))).toEqual([scope.tenant.id]);
  });

  it('sees no other rows in the schemas of others, named in full', async () => {
    for (const place of places) {
      const seen = await read((session) => tenantsIn(session, place));
      expect(seen.filter((id) => id !== scope.tenant.id)).toEqual([]);
    }
  });

  it('sees its own rows and no others on a replica', async () => {
    if (testPostgres().replicaUrls.length === 0) return;
    await database.caughtUp();
    let served: Decision | undefined;
    const reader: TenantScope = {
      ...scope,
      actor: { kind: 'user', id: uuidv7() },
      consistency: { level: { kind: 'session' }, served: (decision) => (served = decision) },
    };
    for (const table of tables) {
      await until(async () => {
        expect(await db().read(reader, (session) => tenantsIn(session, table))).toEqual([scope.tenant.id]);
        return served?.role === 'replica';
      }, 'a replica to answer');
    }
  });

  it('cannot insert a row of another tenant', async () => {
    const before = await allRows(database);
    const insert = `insert into counters (tenant_id, id, name, value) values ($1, $2, 'planted', 1)`;
    const values = [foreign.tenant.id, uuidv7()];
    expect(await sqlStateOf(() => write((session) => session.query(insert, values)))).toBe(notAllowed);
    expectSameRows(await allRows(database), before);
  });

  it('cannot hand its rows to another tenant', async () => {
    const before = await allRows(database);
    const give = 'update products set tenant_id = $1';
    const call = () => write((session) => session.query(give, [foreign.tenant.id]));
    expect(await sqlStateOf(call)).toBe(notAllowed);
    expectSameRows(await allRows(database), before);
  });

  it.each(changeable)('changes its own rows of %s alone, without a WHERE', async (table) => {
    const before = await othersRows(database, scope.tenant.id);
    const touched = await write((session) =>
      session.query<{ id: string }>(`update ${table} set updated_at = now() returning tenant_id as id`),
    );
    expect([...new Set(touched.map((row) => row.id))]).toEqual([scope.tenant.id]);
    expectSameRows(await othersRows(database, scope.tenant.id), before);
  });

  it('cannot lock a row of another tenant', async () => {
    const lock = 'select tenant_id from products where id = $1 for update';
    expect(await write((session) => session.query(lock, [foreign.products.live]))).toEqual([]);
  });

  it.each([
    ['order_lines', 'product_id', 'products'],
    ['order_lines', 'order_id', 'orders'],
    ['orders', 'customer_id', 'users'],
  ] as const)('cannot refer from %s.%s to a row of another tenant', async (table, column, target) => {
    const before = await allRows(database);
    const refer = `update ${table} set ${column} = $1`;
    for (const id of [foreign[target].live, of('dogwood')[target].live, uuidv7()]) {
      expect(await sqlStateOf(() => write((session) => session.query(refer, [id])))).toBe('23503');
    }
    expectSameRows(await allRows(database), before);
  });

  it('may use every unique value that others use, and learns nothing of it', async () => {
    const taken = [skuOf(neighbour, 'live'), skuOf('dogwood', 'live'), skuOf(neighbour, 'deleted')];
    for (const sku of taken) {
      const text = `insert into products (tenant_id, id, sku, name, price_cents, currency, stock)
        values ($1, $2, $3, 'x', 1, 'USD', 1) on conflict do nothing returning sku`;
      const rows = await write((session) => session.query(text, [scope.tenant.id, uuidv7(), sku]));
      expect(rows).toEqual([{ sku }]);
    }
  });

  it('cannot write in a read, on the primary neither, however it is asked', async () => {
    const before = await allRows(database);
    const forced = () =>
      read((session) => products.insert(session as WriteSession, product(`forced-${slug}`)));
    expect(await sqlStateOf(forced)).toBe('25006');
    expectSameRows(await allRows(database), before);
  });
});

describe('without the scope of a tenant', () => {
  const nodes = (): ('primary' | number)[] => ['primary', ...testPostgres().replicaUrls.keys()];

  it('no row of any table is seen, on any node', async () => {
    await database.caughtUp();
    const rows = await database.superuser<{ n: number }>('select count(*)::int as n from shared.products');
    expect(rows[0]?.n).toBeGreaterThan(0);
    for (const node of nodes()) {
      for (const place of places) {
        expect([place, await database.app(`select * from ${place}`, [], node)]).toEqual([place, []]);
      }
    }
  });

  it.each([
    ['empty', ''],
    ['of nobody', uuidv7()],
  ])('no row is seen with a tenant that is %s', async (_what, value) => {
    for (const place of places) {
      const look = `select set_config('app.tenant_id', '${value}', false); select * from ${place}`;
      await withConnection(database.env()['DATABASE_URL'] ?? '', async (client) => {
        const results: unknown = await client.query(look);
        expect((results as { rows: unknown[] }[])[1]?.rows).toEqual([]);
      });
    }
  });

  it('nothing can be written', async () => {
    const before = await allRows(database);
    for (const place of places) {
      const update = () => database.app(`update ${place} set version = 99 returning id`);
      if (place.endsWith('.audit_events')) expect(await sqlStateOf(update)).toBe(notAllowed);
      else expect(await update()).toEqual([]);
    }
    const insert = `insert into shared.counters (tenant_id, id, name, value) values ($1, $2, 'planted', 1)`;
    const call = () => database.app(insert, [of('ash').tenant.id, uuidv7()]);
    expect(await sqlStateOf(call)).toBe(notAllowed);
    expectSameRows(await allRows(database), before);
  });
});

describe('the owner of the tables', () => {
  const asOwner = <T>(text: string, values: unknown[] = []) =>
    withConnection(database.env()['DATABASE_ADMIN_URL'] ?? '', async (client) => {
      const id = of('ash').tenant.id;
      const unscoped = (await client.query(text, values)).rows as T[];
      await client.query(`begin; set local app.tenant_id = '${id}'`);
      const scoped = (await client.query(text, values)).rows as T[];
      await client.query('rollback');
      return { unscoped, scoped };
    });

  it('sees nothing without a tenant, and that tenant alone with one', async () => {
    for (const place of places) {
      const { unscoped, scoped } = await asOwner<{ id: string }>(
        `select distinct tenant_id as id from ${place}`,
      );
      expect(unscoped).toEqual([]);
      expect(scoped.filter((row) => row.id !== of('ash').tenant.id)).toEqual([]);
    }
  });

  it('deletes only the rows of its tenant, without a WHERE', async () => {
    const { unscoped, scoped } = await asOwner<{ id: string }>(
      'delete from shared.order_lines returning tenant_id as id',
    );
    expect(unscoped).toEqual([]);
    expect([...new Set(scoped.map((row) => row.id))]).toEqual([of('ash').tenant.id]);
  });
});
