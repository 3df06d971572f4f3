import { beforeAll, describe, expect, it } from '@jest/globals';
import type { Client } from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import { copyRows, schemaName, tenantTables } from '../../src/db/index.ts';
import { withConnection } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { useHoldings } from '../support/holdings.ts';
import { allRows, type AnyRow, expectSameRows, othersRows } from '../support/rows.ts';
import { plantStrays } from '../support/stray.ts';
import { password, useTenantry } from '../support/tenantry.ts';
import { exportOf, importOf, taken } from '../support/transfer.ts';

const database = useDatabase();
const service = useTenantry(database);
const { holdings, heldBy } = useHoldings(service);

/** A resource that nobody has told the export of, with every kind of value that a careless way would change. */
async function addNotes(schema: string, tenantId: string): Promise<void> {
  const setting = `nullif(current_setting('app.tenant_id', true), '')::uuid`;
  const [there] = await database.superuser(
    `select from pg_tables where schemaname = $1 and tablename = 'notes'`,
    [schema],
  );
  if (there === undefined) {
    await database.superuser(`
      create table ${schema}.notes (
        tenant_id uuid not null, id uuid not null, parent_id uuid, big bigint, exact numeric, moment timestamptz,
        span interval, bytes bytea, tags text[], flag boolean, approximate double precision, structured jsonb,
        verbatim json, "Odd ""name" text, doubled numeric generated always as (big * 2.0) stored,
        primary key (tenant_id, id),
        constraint parent foreign key (tenant_id, parent_id) references ${schema}.notes (tenant_id, id));
      alter table ${schema}.notes owner to tenantry_owner;
      alter table ${schema}.notes enable row level security;
      alter table ${schema}.notes force row level security;
      create policy tenant_isolation on ${schema}.notes using (tenant_id = ${setting}) with check (tenant_id = ${setting});
      grant select, insert, update on ${schema}.notes to tenantry_app`);
  }
  // The child lies before its parent.
  await database.superuser(
    `insert into ${schema}.notes (tenant_id, id, parent_id, big, exact, moment, span, bytes, tags, flag, approximate,
       structured, verbatim, "Odd ""name")
     values
       ($1, '00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002', 4611686018427387903,
        1e60 + 0.000000000000000000001, '2026-01-31 12:34:56.123456+05:30', '1 year 2 mons -3 days 04:05:06.7',
        '\\x00ff0a', array['a,b', '"', null, e'\\n'], true, 0.1::float8 + 0.2, 'null', e'{"a" : 1,\\n "a": 2}',
        e'\\x01 \\x02 \\\\. "quoted" \\t \\r\\n \u2028 🦉 '),
       ($1, '00000000-0000-4000-8000-000000000002', null, null, 'NaN', 'infinity', null, '', '{}', false, '-Infinity',
        '{"n": 12345678901234567890.10}', null, '')`,
    [tenantId],
  );
}

beforeAll(async () => {
  await plantStrays(database);
  for (const { tenant } of Object.values(holdings)) {
    await addNotes(tenant.isolation === 'shared' ? 'shared' : `tenant_${tenant.slug}`, tenant.id);
  }
  // More rows than a batch holds lie between this child and its parent.
  await database.superuser(
    `insert into shared.notes (tenant_id, id, parent_id)
     select $1, lpad(n::text, 32, '0')::uuid, case when n = 100 then lpad('9100', 32, '0')::uuid end
     from generate_series(100, 9100) n`,
    [heldBy('ash').tenant.id],
  );
  await database.caughtUp();
});

const isExported = ({ place }: AnyRow) => !/\.(refresh_tokens|api_keys|idempotency_keys)$/.test(place);

/** The rows of one tenant in the schema where they belong, as PostgreSQL writes them, without the tenant. */
async function rowsOf(id: string, schema: string): Promise<unknown[]> {
  const rows = await allRows(database);
  return rows
    .filter(
      (entry) => isExported(entry) && entry.row.tenant_id === id && entry.place.startsWith(`${schema}.`),
    )
    .map(({ place, row }) => ({ table: place.split('.')[1], row: { ...row, tenant_id: '' } }))
    .toSorted((one, other) => JSON.stringify(one).localeCompare(JSON.stringify(other)));
}

describe.each(['ash', 'birch', 'cedar', 'dogwood'])('the export of %s', (slug) => {
  it('holds every row of the tenant, deleted ones, too, and no row of another', async () => {
    const { tenant } = heldBy(slug);
    const schema = tenant.isolation === 'shared' ? 'shared' : `tenant_${slug}`;
    const text = await exportOf(service, slug);
    const exported = taken(text).rows.map(({ table, row }) => `${table} ${row['id']}`);
    const expected = (await rowsOf(tenant.id, schema)).map((entry) => {
      const { table, row } = entry as { table: string; row: { id: string } };
      return `${table} ${row.id}`;
    });
    expect(expected.length).toBeGreaterThan(10);
    expect(exported.toSorted()).toEqual(expected.toSorted());

    const others = await othersRows(database, tenant.id);
    // Notes have the same ids everywhere.
    const foreign = others.filter(({ place }) => !place.endsWith('.notes')).map(({ row }) => row.id);
    expect(foreign.filter((id) => text.includes(id))).toEqual([]);
    expect(others.filter(({ row }) => text.includes(row.tenant_id))).toEqual([]);
  });

  it.each([
    ['refresh_tokens', 'token_hash'],
    ['api_keys', 'secret_hash'],
    ['idempotency_keys', 'request'],
  ])('has no row of %s in it', async (table, hash) => {
    const { tenant } = heldBy(slug);
    const text = await exportOf(service, slug);
    const rows = (await allRows(database)).filter(
      ({ place, row }) => place.endsWith(`.${table}`) && row.tenant_id === tenant.id,
    );
    expect(rows.length).toBeGreaterThan(0);
    expect(rows.filter(({ row }) => text.includes(String(row[hash])))).toEqual([]);
  });
});

describe('each wall by itself', () => {
  it('row level security: a statement that forgets its tenant gives the rows of the snapshot’s tenant', async () => {
    const { tenant, products } = heldBy('ash');
    const { snapshots } = service.tenantry.data;
    const text = await snapshots.withSnapshot(
      tenant.scope.tenant,
      { tables: ['products'] },
      async (snapshot) => {
        const chunks: Buffer[] = [];
        for await (const chunk of snapshot.copy('copy (select id from shared.products) to stdout')) {
          chunks.push(chunk);
        }
        return Buffer.concat(chunks).toString();
      },
    );
    expect(text.trim().split('\n').toSorted()).toEqual([products.live, products.deleted].toSorted());
  });

  it('the statement: where no policy binds it gives the rows of its tenant', async () => {
    const { tenant, products } = heldBy('ash');
    const schema = schemaName('shared');
    const text = await withConnection(database.superuserUrl(), async (client: Client) => {
      const query = async (sql: string, values?: unknown[]) => (await client.query(sql, values)).rows;
      const tables = await tenantTables({ query }, schema); // a plain client has no constraints to translate
      const table = tables.find(({ name }) => name === 'products');
      if (table === undefined) throw new Error('There is no table products');
      const chunks: Buffer[] = [];
      for await (const chunk of client.query(copyTo(copyRows(tenant.scope.tenant.id, schema, table)))) {
        chunks.push(chunk as Buffer);
      }
      return Buffer.concat(chunks).toString();
    });
    const ids = text
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { row: { id: string } }).row.id);
    expect(ids.toSorted()).toEqual([products.live, products.deleted].toSorted());
  });

  it('a snapshot cannot write', async () => {
    const writing = service.tenantry.data.snapshots.withSnapshot(
      heldBy('cedar').tenant.scope.tenant,
      { tables: [], primaryOnly: true },
      (snapshot) => snapshot.query('update products set stock = 0'),
    );
    await expect(writing).rejects.toMatchObject({ cause: { code: '25006' } });
  });
});

describe('an import', () => {
  it.each(['ash', 'cedar'])('of %s into shared keeps every value as it was', async (from) => {
    const { tenant } = heldBy(from);
    const schema = tenant.isolation === 'shared' ? 'shared' : `tenant_${from}`;
    const before = await allRows(database);
    const options = { slug: `copy_of_${from}`, isolation: 'shared' } as const;
    const report = await importOf(service, await exportOf(service, from), options);
    expect(report.tenant).toMatchObject({ ...options, status: 'active' });
    const { id } = report.tenant;
    expect(id).not.toBe(tenant.id);
    expect(await rowsOf(id, 'shared')).toEqual(await rowsOf(tenant.id, schema));
    expect(report.rows).toBe((await rowsOf(id, 'shared')).length);
    // Nobody else's rows have changed.
    expectSameRows(await othersRows(database, id), before);
  });
});

describe('an import into a schema of its own', () => {
  beforeAll(async () => {
    // Migrations know nothing of this table, so a new schema has none.
    for (const schema of ['shared', 'tenant_cedar', 'tenant_dogwood']) {
      await database.superuser(`drop table ${schema}.notes`);
    }
    await database.caughtUp();
  });

  it.each(['birch', 'dogwood'])('of %s works with the same logins, ids and numbers', async (from) => {
    const { tenant, products } = heldBy(from);
    const slug = `moved_${from}`;
    await importOf(service, await exportOf(service, from), { slug, isolation: 'schema', name: 'Moved' });
    const owner = await service.login(slug, tenant.ownerEmail, password);
    await owner.get(`/v1/products/${products.live}`).expect(200);
    await owner.get(`/v1/products/${products.deleted}`).expect(404);
    await owner.post(`/v1/products/${products.deleted}/restore`).expect(200);
    const order = { lines: [{ productId: products.live, quantity: 1 }] };
    const { body } = await owner.post('/v1/orders').send(order).expect(201);
    expect((body as { number: number }).number).toBe(3);
    await tenant.client.get('/v1/me').expect(200);
  });
});
