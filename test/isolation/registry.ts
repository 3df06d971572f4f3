import { v7 as uuidv7 } from 'uuid';
import type { Stamped, Table } from '../../src/db/index.ts';
import { apiKeys } from '../../src/features/api-keys/repository.ts';
import { apiKey } from '../../src/features/api-keys/schema.ts';
import { auditEvent } from '../../src/features/audit-events/schema.ts';
import { orderLines, orders } from '../../src/features/orders/repository.ts';
import type { ListRules } from '../../src/http/list.ts';
import { order } from '../../src/features/orders/schema.ts';
import { products } from '../../src/features/products/repository.ts';
import { product } from '../../src/features/products/schema.ts';
import { refreshTokens } from '../../src/features/sessions/repository.ts';
import { users } from '../../src/features/users/repository.ts';
import { user } from '../../src/features/users/schema.ts';

/**
 * Every table there is. A new one is one row here, and catalog.test.ts fails until it stands there: from these rows
 * come the tests of tables.test.ts (every function of every repository, against rows of others) and of plans.test.ts
 * (which indexes its statements use).
 */
export interface Registered {
  /** Undefined for a table without a repository: it is spoken to by functions of its own, which have tests of theirs. */
  repository: Table<AnyStamped> | undefined;
  /** A row's own fields. `mark` is a number that no other row of the test has. */
  values: (mark: number) => Record<string, unknown>;
  /** Field → the table whose row it names. */
  references: Readonly<Record<string, string>>;
  /** A field whose value is the mark's: two rows never have the same. */
  marked: string;
  /** A change of a row, of one field. */
  change: Readonly<Record<string, unknown>>;
}

/** A row of any table. */
export type AnyStamped = Stamped & Record<string, unknown>;

const without = { repository: undefined, values: () => ({}), references: {}, change: {} };

export const tenantTables: Readonly<Record<string, Registered>> = {
  users: row(users, {
    values: (mark) => ({
      email: `${mark}@table.test`,
      name: null,
      role: 'member',
      passwordHash: 'x',
      credentialsVersion: 1,
    }),
    marked: 'email',
    change: { name: 'changed' },
  }),
  refresh_tokens: row(refreshTokens, {
    values: (mark) => ({
      familyId: uuidv7(),
      tokenHash: `hash ${mark}`,
      expiresAt: '2100-01-01T00:00:00Z',
      usedAt: null,
    }),
    references: { userId: 'users' },
    marked: 'tokenHash',
    change: { usedAt: '2030-01-01T00:00:00Z' },
  }),
  products: row(products, {
    values: (mark) => ({
      sku: `sku ${mark}`,
      name: 'x',
      description: null,
      priceCents: 1,
      currency: 'USD',
      stock: 1,
    }),
    marked: 'sku',
    change: { stock: 7 },
  }),
  orders: row(orders, {
    values: (mark) => ({ number: 1_000_000 + mark, status: 'placed', totalCents: 1, currency: 'USD' }),
    references: { customerId: 'users' },
    marked: 'number',
    change: { status: 'cancelled' },
  }),
  order_lines: row(orderLines, {
    values: (mark) => ({ quantity: 1, unitPriceCents: mark }),
    references: { orderId: 'orders', productId: 'products' },
    marked: 'unitPriceCents',
    change: { quantity: 7 },
  }),
  api_keys: row(apiKeys, {
    values: (mark) => ({
      name: `key ${mark}`,
      secretHash: 'x',
      scopes: 'products:read',
      expiresAt: null,
      lastUsedAt: null,
    }),
    references: { userId: 'users' },
    marked: 'name',
    change: { lastUsedAt: '2030-01-01T00:00:00Z' },
  }),
  // Written with every change of the others, and never changed: see audit.test.ts.
  audit_events: { ...without, marked: 'action' },
  // nextNumber(): see repositories.test.ts.
  counters: { ...without, marked: 'name' },
  // doneOnce(): see idempotency.test.ts.
  idempotency_keys: { ...without, marked: 'request' },
};

/** What the lists of the API sort and filter by. */
export const lists: Readonly<Record<string, ListRules>> = {
  users: user.list,
  products: product.list,
  orders: order.list,
  'api-keys': apiKey.list,
  'audit-events': auditEvent.list,
};

/**
 * Resources with the usual routes and no more: their routes stand in routes.test.ts by this row, and every tenant of the
 * isolation tests holds two of them.
 */
export const resources: Readonly<Record<string, { body: (mark: number) => object; change: object }>> = {
  // End of the resources
};

/** Tables of the control plane and who may touch them; what the data plane may is in src/control/isolation-rules.ts. */
export const controlTables: Readonly<Record<string, 'control plane' | 'data plane, too'>> = {
  tenants: 'control plane',
  tenant_epoch: 'control plane',
  operators: 'control plane',
  migration_ledger: 'control plane',
  migration_failures: 'control plane',
  migration_runs: 'control plane',
  migration_events: 'control plane',
  migration_lease: 'control plane',
  schema_versions: 'control plane',
  warm_schemas: 'control plane',
  jobs: 'control plane',
  idempotency_keys: 'control plane',
  audit_events: 'data plane, too',
  revocations: 'data plane, too',
};

function row<Row extends Stamped>(
  repository: Table<Row>,
  rest: Omit<Registered, 'repository' | 'references'> & Partial<Pick<Registered, 'references'>>,
): Registered {
  // The registry holds tables of every row type; what is written to one comes from its own line above.
  return { references: {}, ...rest, repository: repository as unknown as Table<AnyStamped> };
}
