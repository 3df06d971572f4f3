import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Client } from 'pg';
import { v7 as uuidv7 } from 'uuid';
import { z } from 'zod';
import { tenantContext } from '../../src/db/index.ts';
import { Session } from '../../src/db/session.ts';
import { kindOf } from '../../src/http/field-kind.ts';
import { withConnection } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { emailOf, type Holdings, type Resource, skuOf, useHoldings } from '../support/holdings.ts';
import { password, useTenantry } from '../support/tenantry.ts';
import { functionsOf, plant, plantBatch, spoken } from './kernel-functions.ts';
import { lists, tenantTables } from './registry.ts';

/**
 * Every statement that repositories send, explained where there are many tenants: an index finds the tenant, and no table
 * is scanned. Row level security alone would see to that, and so would the statements alone; both are asked.
 *
 * What the planner weighs is the share of a tenant in a table, which 200 tenants with 100 rows each have as those with
 * 5,000 do; `PLANS_ROWS=5000` makes as many, for whoever doubts it.
 */
const database = useDatabase();
const service = useTenantry(database, { env: { DATABASE_REPLICA_URLS: '' } });
const { heldBy } = useHoldings(service);
const tenantCount = 200;
const rowsEach = Number(process.env['PLANS_ROWS'] ?? 100);
const patience = 30_000 + rowsEach * 300;

interface Sent {
  name: string;
  text: string;
  values: readonly unknown[];
}
/** Name and text → how it was sent the first time. */
const sent = new Map<string, Sent>();

/** What any session sends from now on is remembered. @returns what ends it */
function overhear(): () => void {
  const { query } = Session.prototype;
  Session.prototype.query = function (...asked) {
    const [text, values = [], , name = ''] = asked as Partial<typeof asked>;
    const key = `${name}\n${text}`;
    if (this.tenant?.slug === 'ash' && text !== undefined && !sent.has(key)) {
      sent.set(key, { name, text, values });
    }
    return query.apply(this, asked) as Promise<never[]>;
  };
  return () => {
    Session.prototype.query = query;
  };
}

let stop = () => {};
afterAll(() => stop());

beforeAll(async () => {
  stop = overhear();
  const held = heldBy('ash');
  await useLists(held);
  await useRoutes(held);
  for (const [, table] of spoken) {
    const { lookUps, changes, returns } = functionsOf(table);
    for (const [title, call] of [...lookUps, ...changes, ...returns]) {
      const state = returns.some(([other]) => other === title) ? 'deleted' : 'live';
      await service.tenantry.data.db.write(held.tenant.scope, async (session) =>
        call(session, await plant(session, table, state)),
      );
    }
    await service.tenantry.data.db.write(held.tenant.scope, (session) => plantBatch(session, table));
  }
  stop();
  await fill();
}, patience);

/** For fields that nobody has thought of above. */
function sampleOf(schema: z.ZodType = z.string()): string {
  const samples = { text: 'x', integer: '7', bigint: '7', timestamptz: '2026-01-01T00:00:00Z', jsonb: '' };
  return { uuid: uuidv7(), ...samples }[kindOf(schema).column];
}

async function useLists({ tenant: { client, slug }, users }: Holdings): Promise<void> {
  const values: Record<string, string> = {
    email: emailOf(slug, 'live'),
    role: 'member',
    sku: skuOf(slug, 'live'),
    name: slug,
    currency: 'USD',
    status: 'placed',
    customerId: users.live,
    userId: users.live,
    expiresAt: '2026-01-01T00:00:00Z',
    lastUsedAt: '2026-01-01T00:00:00Z',
    action: 'users.create',
    actor: users.live,
    ...{ description: 'none', priceCents: '100', stock: '5', number: '1', totalCents: '100' },
    ...{
      createdAt: '2026-01-01T00:00:00Z',
      placedAt: '2026-01-01T00:00:00Z',
      updatedAt: '2026-01-01T00:00:00Z',
    },
    actorKind: 'user',
    resource: 'users',
    resourceId: users.live,
    from: '2020-01-01T00:00:00Z',
    to: '2100-01-01T00:00:00Z',
  };
  for (const [resource, rules] of Object.entries(lists)) {
    const { sortable, filterable = {} } = rules;
    const include = rules.includable !== undefined ? `&include=${rules.includable.join(',')}` : '';
    const filters = Object.keys(filterable).map(
      (field) => `&filter[${field}]=${values[field] ?? sampleOf(filterable[field])}`,
    );
    for (const sort of sortable.flatMap((field) => [field, `-${field}`])) {
      for (const filter of ['', ...filters]) {
        const path = `/v1/${resource}?limit=1&count=exact&sort=${sort}${filter}${include}`;
        const { body } = await client.get(path).expect(200);
        const { next } = (body as { page: { next: string | null } }).page;
        if (next !== null) await client.get(`${path}&cursor=${next}`).expect(200);
      }
    }
  }
}

async function useRoutes(held: Holdings): Promise<void> {
  const { client, slug, ownerEmail } = held.tenant;
  const changes: Record<Resource, object> = {
    orders: { customerId: held.users.live },
    products: { stock: 500 },
    users: { name: 'changed', role: 'admin' },
  };
  for (const [resource, change] of Object.entries(changes)) {
    const path = `/v1/${resource}/${held[resource as Resource].live}`;
    await client.get(path).expect(200);
    await client.patch(path).send(change).expect(200);
    if (resource === 'orders') await client.post(`${path}/cancel`).expect(200);
    await client.delete(path).expect(204);
    await client.post(`${path}/restore`).expect(200);
  }
  const { live: productId } = held.products;
  await client
    .post('/v1/orders')
    .send({ lines: [{ productId, quantity: 1 }] })
    .expect(201);
  const call = (verb: string, body: object) =>
    service.api().post(`/v1/auth/${verb}`).set('X-Tenant-ID', slug).send(body);
  const { body } = await call('login', { email: ownerEmail, password }).expect(200);
  const refreshed = await call('refresh', { refreshToken: (body as Tokens).refreshToken }).expect(200);
  await call('logout', { refreshToken: (refreshed.body as Tokens).refreshToken }).expect(204);
}
interface Tokens {
  refreshToken: string;
}

/** Copies of one row of each table of `shared`, as many for ash as for each of the other tenants. */
async function fill(): Promise<void> {
  await withConnection(database.superuserUrl(), async (client) => {
    await client.query('set session_replication_role = replica; set synchronous_commit = off');
    await client.query(`create temp table tenant as
      select case n when 1 then '${heldBy('ash').tenant.id}' else gen_random_uuid() end as id
      from generate_series(1, ${tenantCount}) n`);
    for (const [name, { marked, references }] of Object.entries(tenantTables)) {
      const column = (field: string) => field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      const fields = [
        `'tenant_id', tenant.id, 'id', gen_random_uuid(), '${column(marked)}', 1000000000 + n`,
        `'created_at', now() - random() * interval '1 year'`,
        ...Object.keys(references).map((field) => `'${column(field)}', gen_random_uuid()`),
      ];
      await client.query(`
        insert into shared.${name} select made.* from tenant, generate_series(1, ${rowsEach}) n,
          (select * from shared.${name} where deleted_at is null and tenant_id = '${heldBy('ash').tenant.id}' limit 1) one,
          jsonb_populate_record(one::shared.${name}, jsonb_build_object(${fields.join(', ')})) made`);
    }
    await client.query('analyze');
  });
}

interface Plan {
  'Node Type': string;
  'Relation Name'?: string;
  'Index Cond'?: string;
  Plans?: Plan[];
}

/** What is wrong with a plan, in words. */
function faultsOf(plan: Plan): string[] {
  const { 'Node Type': kind, 'Relation Name': table = '', 'Index Cond': condition = '' } = plan;
  const below = (plan.Plans ?? []).flatMap(faultsOf);
  if (kind === 'Seq Scan') return [...below, `scans all of ${table}`];
  const byIndex = kind === 'Bitmap Index Scan' || kind === 'Index Scan' || kind === 'Index Only Scan';
  return byIndex && !/\btenant_id = /.test(condition)
    ? [...below, `uses an index of ${table} without the tenant: ${condition}`]
    : below;
}

async function explain(client: Client, how: string, text: string, values?: unknown[]): Promise<string[]> {
  type Row = { 'QUERY PLAN': { Plan: Plan }[] };
  const { rows } = await client.query<Row>(`explain (${how}) ${text}`, values);
  const plan = rows[0]?.['QUERY PLAN'][0]?.Plan;
  if (plan === undefined) throw new Error('EXPLAIN gave no plan');
  return faultsOf(plan);
}

/** Runs `fn` on a connection with the context of ash; nothing is kept. */
function asAsh<T>(url: string, fn: (client: Client) => Promise<T>): Promise<T> {
  return withConnection(url, async (client) => {
    await client.query(`begin; ${tenantContext(heldBy('ash').tenant.scope.tenant)}`);
    return fn(client);
  });
}

async function faultsWith(client: Client, generic: boolean): Promise<string[]> {
  const found: string[] = [];
  for (const { name, text, values } of sent.values()) {
    if (text.startsWith('explain')) continue; // asks for a plan itself
    const faults = generic
      ? await explain(client, 'format json, generic_plan', text)
      : await explain(client, 'format json', text, [...values]);
    found.push(...faults.map((fault) => `${name} ${fault}\n${text}`));
  }
  return found;
}

const appUrl = () => database.env()['DATABASE_URL'] ?? '';

it('every function of every repository has been heard', () => {
  const operations = Object.keys(spoken[0]?.[1].repository ?? {})
    .filter((operation) => operation !== 'require' && operation !== 'insertMany') // these are find and insert
    .flatMap((operation) => spoken.map(([name]) => `${name}.${operation}`));
  const besides = [
    'counters.next',
    'audit_events.record',
    'audit_events.page',
    'audit_events.count',
    'revocations.add',
  ];
  const names = new Set([...sent.values()].map(({ name }) => name));
  expect([...names].toSorted()).toEqual([...besides, ...operations].toSorted());
});

describe('every statement finds its tenant by an index', () => {
  it(
    'as tenantry_app',
    () =>
      asAsh(appUrl(), async (client) => {
        expect(await faultsWith(client, false)).toEqual([]);
      }),
    patience,
  );

  it(
    'as tenantry_app, planned once for all values',
    () =>
      asAsh(appUrl(), async (client) => {
        const { rows } = await client.query<{ n: number }>(
          `select current_setting('server_version_num')::int as n`,
        );
        if ((rows[0]?.n ?? 0) < 160_000) return; // EXPLAIN (GENERIC_PLAN) is of PostgreSQL 16
        expect(await faultsWith(client, true)).toEqual([]);
      }),
    patience,
  );

  it(
    'by what it says itself, without the policy',
    () =>
      asAsh(database.superuserUrl(), async (client) => {
        expect(await faultsWith(client, false)).toEqual([]);
      }),
    patience,
  );
});

describe('the gate itself', () => {
  const find = 'select * from products where id = $1';
  const faultsAfter = (fault: string, text: string) =>
    asAsh(database.superuserUrl(), async (client) => {
      await client.query(`${fault}; set local role tenantry_app`);
      return explain(client, 'format json', text, text.includes('$1') ? [heldBy('ash').products.live] : []);
    });

  it('lets a statement pass that leaves the tenant to the policy', async () => {
    expect(await faultsAfter('select 1', find)).toEqual([]);
  });

  it.each([
    [
      'a policy that casts the column',
      `alter policy tenant_isolation on shared.products
         using (tenant_id::text = current_setting('app.tenant_id', true))`,
      'select * from products where name = $1::text',
    ],
    ['no policy', 'alter table shared.products disable row level security', 'select * from products'],
    [
      'no index that begins with the tenant',
      `drop index shared.products_sku_key, shared.products_name_idx, shared.products_price_cents_idx,
         shared.products_created_at_idx, shared.products_deletion_id_idx;
       alter table shared.order_lines drop constraint order_lines_product_id_fkey;
       alter table shared.products drop constraint products_pkey`,
      'select * from products where name = $1::text',
    ],
    [
      'an index that finds the row before the tenant',
      'create index on shared.products (id); alter table shared.products disable row level security',
      find,
    ],
  ])('knows %s', async (_what, fault, text) => {
    expect(await faultsAfter(fault, text)).toEqual([expect.stringMatching(/scans all|without the tenant/)]);
  });
});
