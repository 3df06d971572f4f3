import { beforeAll, describe, expect, it } from '@jest/globals';
import { v7 as uuidv7 } from 'uuid';
import type { ReadSession, TenantScope, WriteSession } from '../../src/db/index.ts';
import * as ordersRoom from '../../src/features/orders/service.ts';
import * as keysRoom from '../../src/features/api-keys/service.ts';
import * as productsRoom from '../../src/features/products/service.ts';
import * as sessionsRoom from '../../src/features/sessions/service.ts';
import * as usersRoom from '../../src/features/users/service.ts';
import { withoutPolicies } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { createHoldings, useHoldings, emailOf, type Holding, type Held, skuOf } from '../support/holdings.ts';
import { outcomeOf } from '../support/outcome.ts';
import { allRows, expectSameRows, othersRows } from '../support/rows.ts';
import { plantStrays } from '../support/stray.ts';
import { password, useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
const service = useTenantry(database);
const data = () => service.tenantry.data;

/** Kind → ids that are not the tenant's. */
const elsewhere: Record<string, Ids> = {};
const { heldBy } = useHoldings(service);

beforeAll(async () => {
  for (const [slug, where] of [
    ['birch', 'of a tenant beside it'],
    ['dogwood', 'of a tenant in another schema'],
  ] as const) {
    elsewhere[where] = idsOf(slug, 'live');
    elsewhere[`${where}, deleted`] = idsOf(slug, 'deleted');
  }
  elsewhere['of nobody'] = { users: uuidv7(), products: uuidv7(), orders: uuidv7(), 'api-keys': uuidv7() };
  await plantStrays(database);
});

function idsOf(slug: string, state: keyof Holding): Ids {
  const { users, products, orders, 'api-keys': keys } = heldBy(slug);
  return { users: users[state], products: products[state], orders: orders[state], 'api-keys': keys[state] };
}

type Ids = Record<Held, string>;
type Run = (scope: TenantScope, ids: Ids) => Promise<unknown>;
const line = (productId: string) => ({ productId, quantity: 1 });
const sorted = { limit: 100, include: [], counted: false } as const;
const byCreation = { field: 'createdAt', direction: 'asc' } as const;
const byPlacing = { field: 'placedAt', direction: 'asc' } as const;

/** Every function of a service that is given an id, and what comes of one that is not there. */
const services: Record<
  'users' | 'products' | 'orders' | 'apiKeys',
  Record<string, [run: Run, absent: unknown][]>
> = {
  users: {
    list: [
      [
        async (s, { users: id }) =>
          (await data().users.list(s, { ...sorted, sort: byCreation, where: { id } })).rows,
        [],
      ],
    ],
    count: [[(s, { users: id }) => data().users.count(s, { id }), 0]],
    get: [[(s, ids) => data().users.get(s, ids.users), 'not_found']],
    patch: [[(s, ids) => data().users.patch(s, ids.users, { name: 'changed' }), 'not_found']],
    remove: [[(s, ids) => data().users.remove(s, ids.users), 'not_found']],
    restore: [[(s, ids) => data().users.restore(s, ids.users), 'not_found']],
  },
  products: {
    list: [
      [
        async (s, { products: id }) =>
          (await data().products.list(s, { ...sorted, sort: byCreation, where: { id } })).rows,
        [],
      ],
    ],
    count: [[(s, { products: id }) => data().products.count(s, { id }), 0]],
    get: [[(s, ids) => data().products.get(s, ids.products), 'not_found']],
    patch: [[(s, ids) => data().products.patch(s, ids.products, { stock: 7 }), 'not_found']],
    remove: [[(s, ids) => data().products.remove(s, ids.products), 'not_found']],
    restore: [[(s, ids) => data().products.restore(s, ids.products), 'not_found']],
    // That which takes no id, and writes rows of the scope alone, is tried in bulk.test.ts.
    bulk: [false, true].flatMap((dryRun): [run: Run, absent: unknown][] => [
      [
        (s, { products: id }) =>
          data().products.bulk.patchSelected(s, { where: { id } }, { stock: 7 }, dryRun),
        0,
      ],
      [
        (s, { products: id }) => data().products.bulk.removeSelected(s, { where: { id } }, dryRun),
        { count: 0, deletionId: null },
      ],
    ]),
  },
  orders: {
    create: [
      [(s, ids) => data().orders.create(s, { customerId: null, lines: [line(ids.products)] }), 'not_found'],
      [
        (s, ids) => data().orders.create(s, { customerId: ids.users, lines: [line(ownProduct(s))] }),
        'not_found',
      ],
    ],
    list: [
      [
        async (s, { orders: id }) =>
          (await data().orders.list(s, { ...sorted, sort: byPlacing, where: { id } })).rows,
        [],
      ],
      [
        async (s, { users: customerId }) =>
          (await data().orders.list(s, { ...sorted, sort: byPlacing, where: { customerId } })).rows,
        [],
      ],
    ],
    count: [[(s, { orders: id }) => data().orders.count(s, { id }), 0]],
    get: [[(s, ids) => data().orders.get(s, ids.orders), 'not_found']],
    patch: [
      [(s, ids) => data().orders.patch(s, ids.orders, { customerId: null }), 'not_found'],
      [(s, ids) => data().orders.patch(s, ownOrder(s), { customerId: ids.users }), 'not_found'],
    ],
    cancel: [[(s, ids) => data().orders.cancel(s, ids.orders), 'not_found']],
    remove: [[(s, ids) => data().orders.remove(s, ids.orders), 'not_found']],
    restore: [[(s, ids) => data().orders.restore(s, ids.orders), 'not_found']],
  },
  apiKeys: {
    list: [
      [
        async (s, { 'api-keys': id }) =>
          (await data().apiKeys.list(s, { ...sorted, sort: byCreation, where: { id } })).rows,
        [],
      ],
    ],
    count: [[(s, { 'api-keys': id }) => data().apiKeys.count(s, { id }), 0]],
    get: [[(s, ids) => data().apiKeys.get(s, ids['api-keys']), 'not_found']],
    patch: [[(s, ids) => data().apiKeys.patch(s, ids['api-keys'], { name: 'changed' }), 'not_found']],
    remove: [[(s, ids) => data().apiKeys.remove(s, ids['api-keys']), 'not_found']],
  },
};

/** Functions of a service that are given no id. What they make is the tenant's; see the tests of unique values. */
const makers = {
  users: ['create', 'changePassword'],
  products: ['create', 'createMany'],
  orders: [],
  apiKeys: ['create'],
};

const ownHoldings = ({ tenant }: TenantScope) => heldBy(tenant.slug);
const ownProduct = (scope: TenantScope) => ownHoldings(scope).products.live;
const ownOrder = (scope: TenantScope) => ownHoldings(scope).orders.live;

/** What a room offers to its neighbours, with the session of their unit of work. */
const neighbourly: Record<
  string,
  [run: (s: WriteSession, ids: Ids, slug: string) => Promise<unknown>, absent: unknown]
> = {
  findUser: [(s, ids) => usersRoom.findUser(s, ids.users), undefined],
  findByEmail: [(s, _ids, slug) => usersRoom.findByEmail(s, emailOf(slug, 'live')), undefined],
  lockUser: [(s, ids) => usersRoom.lockUser(s, ids.users), undefined],
  endTokens: [
    (s, { users: id }) =>
      usersRoom.endTokens(s, { id, credentialsVersion: 1 } as usersRoom.User, data().issued.revocations),
    'not_found',
  ],
  endSessions: [(s, ids) => sessionsRoom.endSessions(s, ids.users), undefined],
  revokeApiKey: [(s, ids) => keysRoom.revokeApiKey(s, ids['api-keys']), 'not_found'],
  takeStock: [(s, ids) => productsRoom.takeStock(s, [line(ids.products)]), 'not_found'],
  returnStock: [(s, ids) => productsRoom.returnStock(s, [line(ids.products)]), undefined],
};
/** Makes a row of the tenant, needs no session, or makes the service itself. */
const unreachable = [
  'insertOwner',
  'insertApiKey',
  'createApiKeyService',
  'createSessionService',
  'userView',
  'createUserService',
  'createProductService',
  'createOrderService',
];

it('every function of every service stands in one of the lists above', () => {
  for (const room of ['users', 'products', 'orders', 'apiKeys'] as const) {
    const listed = [...Object.keys(services[room]), ...makers[room]];
    expect(listed.toSorted()).toEqual(Object.keys(data()[room]).toSorted());
  }
  const offered = [usersRoom, sessionsRoom, productsRoom, ordersRoom, keysRoom].flatMap((room) =>
    Object.keys(room),
  );
  expect([...Object.keys(neighbourly), ...unreachable].toSorted()).toEqual(offered.toSorted());
});

const rows = Object.entries(services).flatMap(([room, functions]) =>
  Object.entries(functions).flatMap(([fn, entries]) =>
    entries.map(
      ([run, absent], index) => [`${room}.${fn}${index === 0 ? '' : ', a reference'}`, run, absent] as const,
    ),
  ),
);

describe.each(['ash', 'cedar'])('of the tenant %s', (slug) => {
  const scope = () => heldBy(slug).tenant.scope;
  const deleted = () => ({ 'its own, deleted': idsOf(slug, 'deleted') });

  it.each(rows)('%s takes every other row for absent', async (title, run, absent) => {
    const targets = { ...elsewhere, ...(title.endsWith('restore') ? {} : deleted()) };
    const before = await allRows(database);
    for (const [kind, ids] of Object.entries(targets)) {
      expect([kind, await outcomeOf(() => run(scope(), ids))]).toEqual([kind, absent]);
    }
    expectSameRows(await allRows(database), before);
  });

  it.each(rows)('%s finds its own row', async (title, run) => {
    const others = await othersRows(database, scope().tenant.id);
    const own = heldBy(slug).tenant;
    const held = await createHoldings({ ...own, slug: `${slug}-${uuidv7()}` });
    const { users, products, orders, 'api-keys': keys } = held;
    const state = title.endsWith('restore') ? 'deleted' : 'live';
    const ids = {
      users: users[state],
      products: products[state],
      orders: orders[state],
      'api-keys': keys[state],
    };
    const answer = await outcomeOf(() => run(scope(), ids));
    expect(['not_found', 0]).not.toContainEqual(answer);
    expect(answer).not.toEqual([]);
    expectSameRows(await othersRows(database, own.id), others);
  });

  describe.each([
    ['in a unit of work', (fn: (session: WriteSession) => Promise<unknown>) => data().db.write(scope(), fn)],
    [
      'where no policy binds',
      (fn: (session: WriteSession) => Promise<unknown>) => withoutPolicies(database, scope().tenant, fn),
    ],
  ])('%s', (_way, unit) => {
    it.each(Object.entries(neighbourly))(
      '%s takes every other row for absent',
      async (_fn, [run, absent]) => {
        const before = await allRows(database);
        for (const [kind, ids] of Object.entries({ ...elsewhere, ...deleted() })) {
          for (const neighbour of ['birch', 'dogwood']) {
            const answer = await outcomeOf(() => unit((session) => run(session, ids, neighbour)));
            expect([kind, answer]).toEqual([kind, absent]);
          }
        }
        expectSameRows(await allRows(database), before);
      },
    );

    it.each(Object.entries(neighbourly))('%s changes no row of others for its own', async (_fn, [run]) => {
      const others = await othersRows(database, scope().tenant.id);
      // One that has been revoked the other way is not there any more.
      await outcomeOf(() => unit((session) => run(session, idsOf(slug, 'live'), slug)));
      expectSameRows(await othersRows(database, scope().tenant.id), others);
    });
  });

  it('unique values of others are free', async () => {
    const others = await othersRows(database, scope().tenant.id);
    const product = { name: 'x', description: null, priceCents: 1, currency: 'USD', stock: 1 };
    const user = { password, name: null, role: 'member' } as const;
    const seen = (session: ReadSession, email: string) => usersRoom.findByEmail(session, email);
    for (const neighbour of ['birch', 'dogwood']) {
      for (const state of ['live', 'deleted'] as const) {
        const sku = skuOf(neighbour, state);
        expect(await data().products.create(scope(), { ...product, sku })).toMatchObject({ sku });
        const many = [{ ...product, sku: `${sku}-2` }];
        expect(await data().products.createMany(scope(), many)).toMatchObject(many);
        const { id, email } = await data().users.create(scope(), {
          ...user,
          email: emailOf(neighbour, state),
        });
        expect(await data().db.read(scope(), (session) => seen(session, email))).toMatchObject({ id });
      }
    }
    expectSameRows(await othersRows(database, scope().tenant.id), others);
  });
});
