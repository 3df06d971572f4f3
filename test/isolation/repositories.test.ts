import { beforeAll, describe, expect, it } from '@jest/globals';
import { v7 as uuidv7 } from 'uuid';
import { nextNumber, type ReadSession, type WriteSession } from '../../src/db/index.ts';
import { products } from '../../src/features/products/repository.ts';
import { withoutPolicies } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { outcomeOf } from '../support/outcome.ts';
import {
  allRows,
  type AnyRow,
  expectSameRows,
  newEvents,
  othersRows,
  withoutEvents,
} from '../support/rows.ts';
import { plantStrays } from '../support/stray.ts';
import { type TestTenant, useTenantry } from '../support/tenantry.ts';
import { functionsOf, nowhere, plant, spoken, type Spoken, type Target, toldOf } from './kernel-functions.ts';

const database = useDatabase();
const service = useTenantry(database);

/** Of products, every function for itself; tables.test.ts has those of every table. */
const registered = spoken.find(([name]) => name === 'products')?.[1] as Spoken; // a test fails when it is not there
const { lookUps, changes, returns } = functionsOf(registered);

/** Functions that are given no id: what they make is the tenant's own, whatever the values say. */
const makers: [title: string, run: (s: WriteSession, given: object) => Promise<unknown>][] = [
  ['insert', (s, given) => products.insert(s, { ...values(uuidv7()), ...given })],
  ['insertBatch', (s, given) => products.insertBatch(s, [{ ...values(uuidv7()), ...given }])],
  ['insertMany', (s, given) => products.insertMany(s, [{ ...values(uuidv7()), ...given }])],
];

const values = (sku: string) => ({
  sku,
  name: sku,
  description: null,
  priceCents: 1,
  currency: 'USD',
  stock: 1,
});
const pageOf = (session: ReadSession, request: object) =>
  products.page(session, { limit: 100, sort: { field: 'sku', direction: 'asc' }, ...request });

it('every function of a table stands in one of the lists above', () => {
  const listed = [...lookUps, ...changes, ...returns, ...makers].map(([title]) => title.replace(/,.*/, ''));
  expect([...new Set(listed)].toSorted()).toEqual(Object.keys(products).toSorted());
});

const tenants: Record<string, TestTenant> = {};
/** Kind → a product that is not the tenant's. */
const elsewhere: Record<string, Target> = {};

beforeAll(async () => {
  for (const [slug, isolation] of [
    ['ash', 'shared'],
    ['birch', 'shared'],
    ['cedar', 'schema'],
    ['dogwood', 'schema'],
  ] as const) {
    tenants[slug] = await service.onboard(slug, isolation);
  }
  for (const [slug, where] of [
    ['birch', 'of a tenant beside it'],
    ['dogwood', 'of a tenant in another schema'],
  ] as const) {
    elsewhere[where] = await plantFor(tenantOf(slug), 'live');
    elsewhere[`${where}, deleted`] = await plantFor(tenantOf(slug), 'deleted');
  }
  elsewhere['of nobody'] = nowhere();
  await plantStrays(database); // so that a tenant with a schema of its own has neighbours, too
});

function tenantOf(slug: string): TestTenant {
  const tenant = tenants[slug];
  if (tenant === undefined) throw new Error(`there is no tenant ${slug}`);
  return tenant;
}

function plantFor(tenant: TestTenant, state: 'live' | 'deleted'): Promise<Target> {
  return service.tenantry.data.db.write(tenant.scope, (session) => plant(session, registered, state));
}

/**
 * Rows of other tenants with the same id and SKU, one that is there and one that went with the same deletion: ids are
 * unique within a tenant only. The tenant's own row is written once more, so that a scan comes to it last.
 */
async function plantTwins({ id, scope }: TestTenant, target: Target): Promise<void> {
  const table = `${scope.tenant.schema}.products`;
  const there = { tenant_id: tenantOf('dogwood').id, name: 'twin', deleted_at: null, deletion_id: null };
  for (const twin of [there, { tenant_id: tenantOf('birch').id, name: 'twin' }]) {
    await database.superuser(
      `insert into ${table} select twin.* from ${table} t, jsonb_populate_record(t, $3) twin
       where t.tenant_id = $1 and t.id = $2`,
      [id, target.id, twin],
    );
  }
  await database.superuser(`update ${table} set stock = stock where tenant_id = $1 and id = $2`, [
    id,
    target.id,
  ]);
}

type Unit = <T>(tenant: TestTenant, fn: (session: WriteSession) => Promise<T>) => Promise<T>;
const ways: [string, Unit][] = [
  ['in a unit of work', ({ scope }, fn) => service.tenantry.data.db.write(scope, fn)],
  ['where no policy binds', ({ scope }, fn) => withoutPolicies(database, scope.tenant, fn)],
];

describe.each(ways)('%s', (_way, unit) => {
  describe.each(['ash', 'cedar'])('of the tenant %s', (slug) => {
    const tenant = () => tenantOf(slug);
    const isTarget = (target: Target) => (row: AnyRow) =>
      row.row.id === target.id && row.row.tenant_id === tenant().id;

    it.each(lookUps)('%s finds its own row', async (_title, run) => {
      const target = await plantFor(tenant(), 'live');
      await plantTwins(tenant(), target);
      const before = await allRows(database);
      const answer = JSON.stringify(await unit(tenant(), (session) => run(session, target)));
      expect(answer).toContain(target.id);
      expect(answer).not.toContain('twin');
      expectSameRows(await allRows(database), before);
    });

    it.each([
      ...changes.map((entry) => [...entry, 'live'] as const),
      ...returns.map((entry) => [...entry, 'deleted'] as const),
    ])('%s changes its own row alone, and says so in the audit', async (title, run, _absent, state) => {
      const target = await plantFor(tenant(), state);
      await plantTwins(tenant(), target);
      const before = await allRows(database);
      await unit(tenant(), (session) => run(session, target));
      const after = await allRows(database);
      expect(after.find(isTarget(target))).not.toEqual(before.find(isTarget(target)));
      const besides = (rows: AnyRow[]) => rows.filter((row) => !isTarget(target)(row));
      expectSameRows(besides(withoutEvents(after)), besides(withoutEvents(before)));
      const { schema } = tenant().scope.tenant;
      const event = { tenant_id: tenant().id, resource: 'products', ...toldOf(title, target.id) };
      expect(newEvents(before, after)).toEqual(
        title === 'touch' ? [] : [{ place: `${schema}.audit_events`, row: expect.objectContaining(event) }],
      );
    });

    it.each([...lookUps, ...changes, ...returns])(
      '%s takes every other row for absent',
      async (title, run, absent) => {
        const targets = { ...elsewhere };
        const forDeleted = returns.some(([name]) => name === title);
        if (!forDeleted) targets['its own, deleted'] = await plantFor(tenant(), 'deleted');
        const before = await allRows(database);
        for (const [kind, target] of Object.entries(targets)) {
          const answer = await outcomeOf(() => unit(tenant(), (session) => run(session, target)));
          expect([kind, answer]).toEqual([kind, absent]);
        }
        expectSameRows(await allRows(database), before);
      },
    );

    it.each(makers)('%s makes a row of its own, whatever it is given', async (_title, run) => {
      const before = await allRows(database);
      const ids = new Set(before.map(({ row }) => row.id));
      for (const { id, mark } of Object.values(elsewhere)) {
        const sku = String(mark);
        const given = { id, sku, tenantId: tenantOf('birch').id, tenant_id: tenantOf('birch').id };
        await unit(tenant(), async (session) => {
          await run(session, given);
          await products.softDeleteWhere(session, { sku }, { deletionId: uuidv7() }); // for the next one
        });
      }
      const all = await allRows(database);
      const made = withoutEvents(all).filter(({ row }) => !ids.has(row.id));
      const actions = new Set(['products.create', 'products.bulk_create']);
      const events = newEvents(before, all).filter(({ row }) => actions.has(String(row['action'])));
      const told = ({ row }: AnyRow) => row['resource_id'] ?? (row['after'] as { ids: string[] }).ids;
      expect(events.flatMap(told).map(String).toSorted()).toEqual(made.map(({ row }) => row.id).toSorted());
      expect(made.map(({ row }) => row.tenant_id)).toEqual(Object.keys(elsewhere).map(() => tenant().id));
      expectSameRows(
        (await allRows(database)).filter(({ row }) => ids.has(row.id)),
        before,
      );
    });

    it('lists and counts without a filter hold the rows of the tenant, all of them and no others', async () => {
      const own = (await allRows(database)).filter(
        ({ place, row }) =>
          place.endsWith('.products') && row.tenant_id === tenant().id && row['deleted_at'] === null,
      );
      const ids = own.map(({ row }) => row.id).toSorted();
      await unit(tenant(), async (session) => {
        const { rows } = await pageOf(session, {});
        expect(rows.map((row) => row.id).toSorted()).toEqual(ids);
        expect((await products.findWhere(session, {})).map((row) => row.id).toSorted()).toEqual(ids);
        expect(await products.count(session)).toBe(ids.length);
      });
    });

    it('softDeleteWhere without a filter deletes the rows of the tenant alone', async () => {
      const others = await othersRows(database, tenant().id);
      await unit(tenant(), (session) => products.softDeleteWhere(session, {}, { deletionId: uuidv7() }));
      expect(await unit(tenant(), (session) => products.count(session))).toBe(0);
      expectSameRows(await othersRows(database, tenant().id), others);
    });

    it('nextNumber counts for the tenant alone', async () => {
      const series = uuidv7();
      for (const other of ['birch', 'dogwood']) {
        await unit(tenantOf(other), (session) => nextNumber(session, series));
      }
      const others = await othersRows(database, tenant().id);
      const numbers = [1, 2, 3].map(() => unit(tenant(), (session) => nextNumber(session, series)));
      expect((await Promise.all(numbers)).toSorted((a, b) => a - b)).toEqual([1, 2, 3]);
      expectSameRows(await othersRows(database, tenant().id), others);
    });
  });
});

it('a table cannot be used without a tenant', async () => {
  const nobody = {
    tenant: undefined,
    author: { actor: { kind: 'system', id: 'x' } },
    query: () => Promise.reject(new Error('asked')),
  } as unknown as WriteSession;
  const target = nowhere();
  for (const [title, run] of [...lookUps, ...changes, ...returns, ...makers]) {
    expect([title, await outcomeOf(async () => run(nobody, target))]).toEqual([title, 'internal']);
  }
});
