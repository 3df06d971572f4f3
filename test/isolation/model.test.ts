import { beforeAll, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { v7 as uuidv7 } from 'uuid';
import type { TenantScope } from '../../src/db/index.ts';
import { useDatabase } from '../support/database.ts';
import { outcomeOf } from '../support/outcome.ts';
import { allRows, tenantTables } from '../support/rows.ts';
import { password, replicasFresh, type TestTenant, useTenantry } from '../support/tenantry.ts';
import {
  cancel,
  change,
  emptyModel,
  type Line,
  live,
  type Model,
  place,
  type Order,
  type Product,
  refusalOf,
  remove,
  restore,
  taken,
  type User,
} from './model.ts';

/**
 * Random work of four tenants, some of it aimed at what belongs to others, against the service and against one model for
 * each of them. After every operation the answers are compared, after every sequence all rows that there are.
 *
 * `TEST_OPERATIONS=100000` makes it longer, `TEST_SEED=7` repeats a run: what fails prints its seed, and the shortest
 * sequence that fails.
 */
const operations = Number(process.env['TEST_OPERATIONS'] ?? 1500);
const seed = Number(process.env['TEST_SEED'] ?? Math.floor(Math.random() * 0x7fffffff));
const perSequence = 300;
const database = useDatabase();
const service = useTenantry(database);
const data = () => service.tenantry.data;

const tenants: TestTenant[] = [];
let places: string[] = [];
beforeAll(async () => {
  for (const [slug, isolation] of [
    ['ash', 'shared'],
    ['birch', 'shared'],
    ['cedar', 'schema'],
    ['dogwood', 'schema'],
  ] as const) {
    tenants.push(await service.onboard(slug, isolation));
  }
  places = await tenantTables(database);
  await replicasFresh(service);
});

type Kind = 'products' | 'users' | 'orders';
type Ids = Record<Kind, string[]>;
/** Tenant by tenant; every id that was given out, so that each can be tried by all. */
interface World {
  models: Model[];
  ids: Ids[];
}

/** Who owns the id that is used, and which of them it is; 0 is an id of nobody. */
interface Aim {
  owner: number;
  nth: number;
}
const unknown = uuidv7();
interface Done {
  model: Model;
  scope: TenantScope;
  ids: Ids;
  id(kind: Kind, aim: Aim): string;
}
/** Does it to the service and to the model. @returns both answers, in the same form */
type Operation = (done: Done) => Promise<[actual: unknown, expected: unknown]>;

const productOf = ({ sku, stock, version }: Product) => ({ sku, stock, version });
const userOf = ({ email, name, version }: User) => ({ email, name, version });
const orderOf = ({ number, status, customerId, lines, version }: Order) => ({
  number,
  status,
  customerId,
  lines: lines.map(({ productId, quantity }) => `${productId} ${quantity}`).toSorted(),
  version,
});
const views = { products: productOf, users: userOf, orders: orderOf } as const;

/** A row as both sides tell it; a refusal stays what it is. */
function seen(kind: Kind, answer: unknown): unknown {
  return typeof answer === 'object' && answer !== null ? views[kind](answer as never) : answer;
}

/** Makes what the service has made. */
function made<Row>(done: Done, kind: Kind, answer: unknown, make: (id: string) => Row): Row {
  const id = typeof answer === 'object' && answer !== null ? (answer as { id: string }).id : uuidv7();
  done.ids[kind].push(id);
  return make(id);
}

function add<Row>(rows: Map<string, Row>, id: string, row: Row): Row {
  rows.set(id, row);
  return row;
}

const fresh = { version: 1, deleted: false } as const;
const codes = { products: 'sku_taken', users: 'email_taken', orders: '' } as const;
const uniques = { products: 'sku', users: 'email', orders: 'number' } as const;

const createProduct =
  (sku: string, stock: number): Operation =>
  async (done) => {
    const { model, scope } = done;
    const input = { sku, name: 'x', description: null, priceCents: 1, currency: 'USD', stock };
    const actual = await outcomeOf(() => data().products.create(scope, input));
    const expected = taken(model.products, 'sku', sku)
      ? 'sku_taken'
      : made(done, 'products', actual, (id) => add(model.products, id, { sku, stock, ...fresh }));
    return [seen('products', actual), seen('products', expected)];
  };

const createUser =
  (email: string): Operation =>
  async (done) => {
    const { model, scope } = done;
    const input = { email, password, name: null, role: 'member' } as const;
    const actual = await outcomeOf(() => data().users.create(scope, input));
    const expected = taken(model.users, 'email', email)
      ? 'email_taken'
      : made(done, 'users', actual, (id) => add(model.users, id, { email, name: null, ...fresh }));
    return [seen('users', actual), seen('users', expected)];
  };

const createOrder =
  (customer: Aim | null, aims: (Aim & { quantity: number })[]): Operation =>
  async (done) => {
    const { model, scope } = done;
    const customerId = customer && done.id('users', customer);
    // A product stands in one line of an order.
    const quantities = new Map(aims.map((aim) => [done.id('products', aim), aim.quantity]));
    const lines: Line[] = [...quantities].map(([productId, quantity]) => ({ productId, quantity }));
    const actual = await outcomeOf(() => data().orders.create(scope, { customerId, lines }));
    const expected =
      refusalOf(model, customerId, lines) ??
      made(done, 'orders', actual, (id) => place(model, id, customerId, lines));
    return [seen('orders', actual), seen('orders', expected)];
  };

const patchProduct =
  (aim: Aim, changes: { stock: number } | { sku: string }): Operation =>
  async ({ model, scope, id: idOf }) => {
    const id = idOf('products', aim);
    const actual = await outcomeOf(() => data().products.patch(scope, id, changes));
    const there = live(model.products, id) !== undefined;
    const refused = 'sku' in changes && there && taken(model.products, 'sku', changes.sku, id);
    return [
      seen('products', actual),
      seen('products', refused ? 'sku_taken' : change(model.products, id, changes)),
    ];
  };

const patchOrder =
  (aim: Aim, customer: Aim | null): Operation =>
  async ({ model, scope, id: idOf }) => {
    const id = idOf('orders', aim);
    const customerId = customer && idOf('users', customer);
    const actual = await outcomeOf(() => data().orders.patch(scope, id, { customerId }));
    const refusal = refusalOf(model, customerId, []);
    return [seen('orders', actual), seen('orders', refusal ?? change(model.orders, id, { customerId }))];
  };

const cancelOrder =
  (aim: Aim): Operation =>
  async ({ model, scope, id: idOf }) => {
    const id = idOf('orders', aim);
    const actual = await outcomeOf(() => data().orders.cancel(scope, id));
    return [seen('orders', actual), seen('orders', cancel(model, id))];
  };

const get =
  (kind: Kind, aim: Aim): Operation =>
  async ({ model, scope, id: idOf }) => {
    const id = idOf(kind, aim);
    const actual = await outcomeOf(() => data()[kind].get(scope, id));
    return [seen(kind, actual), seen(kind, live<Product | User | Order>(model[kind], id) ?? 'not_found')];
  };

const removeOne =
  (kind: Kind, aim: Aim): Operation =>
  async ({ model, scope, id: idOf }) => {
    const id = idOf(kind, aim);
    const actual = await outcomeOf(() => data()[kind].remove(scope, id));
    const changes = kind === 'users' ? 2 : 1;
    return [
      typeof actual === 'object' ? 'done' : actual,
      remove<Product | User | Order>(model[kind], id, changes),
    ];
  };

const restoreOne =
  (kind: Kind, aim: Aim): Operation =>
  async ({ model, scope, id: idOf }) => {
    const id = idOf(kind, aim);
    const actual = await outcomeOf(() => data()[kind].restore(scope, id));
    const rows = model[kind] as Map<string, Product | User | Order>;
    const field = uniques[kind] as keyof (Product | User | Order);
    const isTaken = (row: Product | User | Order) =>
      taken(rows, field, row[field], id) ? codes[kind] : undefined;
    return [seen(kind, actual), seen(kind, restore(rows, id, isTaken))];
  };

const list =
  (kind: Kind, where: Record<string, string>): Operation =>
  async ({ model, scope }) => {
    const sort = { field: kind === 'orders' ? 'placedAt' : 'createdAt', direction: 'asc' } as const;
    const request = { limit: 100, include: ['lines'], counted: true, sort, where };
    const { rows } = await data()[kind].list(scope, request as never);
    const total = await data()[kind].count(scope, where);
    const known = [...(model[kind] as Map<string, Product | User | Order>)].filter(
      ([, row]) =>
        !row.deleted &&
        Object.entries(where).every(([field, value]) => row[field as 'version'] === (value as never)),
    );
    // The owner stands in no model.
    const own = (rows as { id: string; role?: string }[]).filter(({ role }) => role !== 'owner');
    const owners = rows.length - own.length;
    return [
      [total - owners, Object.fromEntries(own.map((row) => [row.id, seen(kind, row)]))],
      [known.length, Object.fromEntries(known.map(([id, row]) => [id, seen(kind, row)]))],
    ];
  };

type Command = fc.AsyncCommand<World, object>;

function command(tenant: number, label: string, given: unknown[], operation: Operation): Command {
  const title = () => `${tenants[tenant]?.slug} ${label} ${JSON.stringify(given)}`;
  return {
    check: () => true,
    toString: title,
    async run(world) {
      const { scope } = tenants[tenant] as TestTenant; // there are as many as there are indexes
      const [actual, expected] = await operation({
        model: world.models[tenant] as Model,
        // Reads what it wrote, at whichever node.
        scope: { ...scope, consistency: { level: { kind: 'session' } } },
        ids: world.ids[tenant] as Ids,
        id: (kind, { owner, nth }) => {
          const ids = world.ids[owner]?.[kind] ?? [];
          return (nth === 0 ? undefined : ids[nth % ids.length]) ?? unknown;
        },
      });
      const outcome = `${label}: ${typeof expected === 'string' ? expected : 'done'}`;
      tried.set(outcome, (tried.get(outcome) ?? 0) + 1);
      expect([title(), actual]).toEqual([title(), expected]);
    },
  };
}

/** What came of each kind of operation, and how often: one that is always refused would show nothing. */
const tried = new Map<string, number>();

const index = fc.integer({ min: 0, max: 3 });
const sku = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f');
const email = fc.constantFrom('a@model.test', 'b@model.test', 'c@model.test');
const kind = fc.constantFrom<Kind[]>('products', 'users', 'orders');
const stock = fc.integer({ min: 0, max: 9 });

/** Operations of one tenant; three quarters and more of what they aim at is its own. */
function operationsOf(tenant: number): fc.Arbitrary<Command>[] {
  const owner = fc.oneof({ weight: 3, arbitrary: fc.constant(tenant) }, { weight: 1, arbitrary: index });
  const aim: fc.Arbitrary<Aim> = fc.record({ owner, nth: fc.nat({ max: 9 }) });
  const lines = fc.array(
    fc.record({ owner, nth: fc.nat({ max: 9 }), quantity: fc.integer({ min: 1, max: 3 }) }),
    { minLength: 1, maxLength: 2 },
  );
  const customer = fc.option(aim, { freq: 2 });
  const make = <Given extends unknown[]>(
    label: string,
    given: fc.Arbitrary<Given>,
    operation: (...values: Given) => Operation,
  ) => given.map((values) => command(tenant, label, values, operation(...values)));
  const where = fc.oneof(
    fc.constant<[Kind, Record<string, string>]>(['orders', { status: 'placed' }]),
    fc.tuple(kind, fc.constant({})),
    sku.map((value): [Kind, Record<string, string>] => ['products', { sku: value }]),
  );
  return [
    make('creates a product', fc.tuple(sku, stock), createProduct),
    make('creates a product', fc.tuple(sku, stock), createProduct),
    make('creates a user', fc.tuple(email), createUser),
    make('creates an order', fc.tuple(customer, lines), createOrder),
    make('creates an order', fc.tuple(customer, lines), createOrder),
    make('stocks a product', fc.tuple(aim, fc.record({ stock })), patchProduct),
    make('renames a product', fc.tuple(aim, fc.record({ sku })), patchProduct),
    make('changes an order', fc.tuple(aim, customer), patchOrder),
    make('cancels an order', fc.tuple(aim), cancelOrder),
    make('gets one', fc.tuple(kind, aim), get),
    make('gets one', fc.tuple(kind, aim), get),
    make('removes one', fc.tuple(kind, aim), removeOne),
    make('restores one', fc.tuple(kind, aim), restoreOne),
    make('lists', where, list),
  ];
}

/** As after onboarding. */
async function clear(): Promise<void> {
  const emptied = places.filter((name) => /\.(products|orders|order_lines|counters)$/.test(name));
  const users = places.filter((name) => name.endsWith('.users'));
  await database.superuser(`truncate ${emptied.join(', ')};
    ${users.map((name) => `delete from ${name} where role <> 'owner'`).join('; ')}`);
  await database.caughtUp();
}

/** Every row there is belongs to the tenant that its model says, and every row of a model is there. */
async function expectRows({ models }: World): Promise<void> {
  const stored = (await allRows(database)).filter(
    ({ place: at, row }) => /\.(products|users|orders)$/.test(at) && row['role'] !== 'owner',
  );
  const told = stored.map(
    ({ place: at, row }) => `${at} ${row.tenant_id} ${row.id} ${String(row['deleted_at'] !== null)}`,
  );
  const known = models.flatMap((model, at) => {
    const { id, scope } = tenants[at] as TestTenant;
    return (['products', 'users', 'orders'] as const).flatMap((name) =>
      [...(model[name] as Map<string, Product | User | Order>)].map(
        ([key, { deleted }]) => `${scope.tenant.schema}.${name} ${id} ${key} ${deleted}`,
      ),
    );
  });
  expect(told.toSorted()).toEqual(known.toSorted());
}

/** What a run of this length has never missed. */
const outcomes = [
  ...['creates a product', 'creates a user', 'creates an order', 'cancels an order', 'changes an order'],
  ...['stocks a product', 'renames a product', 'gets one', 'removes one', 'restores one', 'lists'],
].map((label) => `${label}: done`);

it(
  `four tenants that work at random are each as if they were alone (seed ${seed})`,
  async () => {
    const commands = fc.commands([0, 1, 2, 3].flatMap(operationsOf), {
      maxCommands: perSequence,
      size: 'max',
    });
    const sequence = fc.asyncProperty(commands, async (chosen) => {
      await clear();
      const world: World = {
        models: tenants.map(emptyModel),
        ids: tenants.map(() => ({ products: [], users: [], orders: [] })),
      };
      await fc.asyncModelRun(() => ({ model: world, real: {} }), chosen);
      await expectRows(world);
    });
    // Sequences are half as long as they may be, on average.
    const numRuns = Math.ceil((2 * operations) / perSequence);
    await fc.assert(sequence, { seed, numRuns, endOnFailure: false });
    const done = [...tried.values()].reduce((sum, times) => sum + times, 0);
    process.stderr.write(`${done} operations of four tenants agree with the model; seed ${seed}\n`);
    if (operations >= 1000) expect([...tried.keys()]).toEqual(expect.arrayContaining(outcomes));
  },
  60_000 + operations * 60,
);
