/**
 * What one tenant has, as a client knows it after what it has done: products with stock, users, and orders over both.
 * It knows of no other tenant, which is the point: when the service agrees with one of these for each tenant, none has
 * seen or changed anything of another.
 *
 * Every function answers what the service should: a value, or the code of the refusal.
 */
export interface Model {
  products: Map<string, Product>;
  users: Map<string, User>;
  orders: Map<string, Order>;
  /** Of the last order. */
  number: number;
}

interface Versioned {
  version: number;
  deleted: boolean;
}

export interface Product extends Versioned {
  sku: string;
  stock: number;
}

export interface User extends Versioned {
  email: string;
  name: string | null;
}

export interface Order extends Versioned {
  number: number;
  status: 'placed' | 'cancelled';
  customerId: string | null;
  lines: Line[];
}

export interface Line {
  productId: string;
  quantity: number;
}

export const emptyModel = (): Model => ({
  products: new Map(),
  users: new Map(),
  orders: new Map(),
  number: 0,
});

/** What is there; undefined for what is unknown, deleted or of somebody else, which are all one. */
export function live<Row extends Versioned>(rows: ReadonlyMap<string, Row>, id: string): Row | undefined {
  const row = rows.get(id);
  return row?.deleted === false ? row : undefined;
}

export function taken<Row extends Versioned>(
  rows: ReadonlyMap<string, Row>,
  field: keyof Row,
  value: Row[keyof Row],
  except = '',
): boolean {
  return [...rows].some(([id, row]) => id !== except && !row.deleted && row[field] === value);
}

/** Changes what is there. */
export function change<Row extends Versioned>(
  rows: ReadonlyMap<string, Row>,
  id: string,
  changes: Partial<Row>,
): Row | 'not_found' {
  const row = live(rows, id);
  if (row === undefined) return 'not_found';
  return Object.assign(row, changes, { version: row.version + 1 });
}

/** @param changes of the row that it takes: a user's access tokens end with one of their own */
export function remove<Row extends Versioned>(
  rows: ReadonlyMap<string, Row>,
  id: string,
  changes: number,
): 'done' | 'not_found' {
  const row = live(rows, id);
  if (row === undefined) return 'not_found';
  Object.assign(row, { deleted: true, version: row.version + changes });
  return 'done';
}

/** @param isTaken whether its place has been taken meanwhile, and what is said then */
export function restore<Row extends Versioned>(
  rows: ReadonlyMap<string, Row>,
  id: string,
  isTaken: (row: Row) => string | undefined = () => undefined,
): Row | string {
  const row = rows.get(id);
  if (row === undefined) return 'not_found';
  if (!row.deleted) return row;
  const refusal = isTaken(row);
  if (refusal !== undefined) return refusal;
  return Object.assign(row, { deleted: false, version: row.version + 1 });
}

/** What is wrong with an order; undefined when it can be placed. */
export function refusalOf(
  model: Model,
  customerId: string | null,
  lines: readonly Line[],
): string | undefined {
  if (customerId !== null && live(model.users, customerId) === undefined) return 'not_found';
  const found = lines.map((line) => live(model.products, line.productId));
  if (found.includes(undefined)) return 'not_found';
  const short = lines.some(({ quantity }, at) => (found[at]?.stock ?? 0) < quantity);
  return short ? 'insufficient_stock' : undefined;
}

/** @param id that the service gave it */
export function place(model: Model, id: string, customerId: string | null, lines: Line[]): Order {
  for (const { productId, quantity } of lines) addStock(model, productId, -quantity);
  model.number += 1;
  const order: Order = {
    number: model.number,
    status: 'placed',
    customerId,
    lines,
    version: 1,
    deleted: false,
  };
  model.orders.set(id, order);
  return order;
}

export function cancel(model: Model, id: string): Order | string {
  const order = live(model.orders, id);
  if (order === undefined) return 'not_found';
  if (order.status === 'cancelled') return 'order_cancelled';
  for (const { productId, quantity } of order.lines) addStock(model, productId, quantity);
  return change(model.orders, id, { status: 'cancelled' });
}

/** Into products that are still there. */
function addStock(model: Model, id: string, quantity: number): void {
  const product = live(model.products, id);
  if (product !== undefined) change(model.products, id, { stock: product.stock + quantity });
}
