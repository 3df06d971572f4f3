import {
  countIn,
  type Database,
  nextNumber,
  type PageRequest,
  type ReadSession,
  type RowLimit,
  type Selection,
  type TenantScope,
  type WriteSession,
} from '../../db/index.ts';
import { AppError, notFound } from '../../errors.ts';
import type { ResourceService } from '../../http/resource-routes.ts';
import { returnStock, type TakenLine, takeStock } from '../products/service.ts';
import { findUser } from '../users/service.ts';
import { type Order, type OrderLine, orderLines, orders } from './repository.ts';
import type { CreateOrder, OrderView, PatchOrder } from './schema.ts';

export interface OrderService extends ResourceService<OrderView, CreateOrder, PatchOrder> {
  /**
   * Places an order: takes the stock, writes the order and its lines, all or nothing.
   *
   * @throws AppError insufficient_stock; not_found for a product or customer that is not there; unprocessable when the
   *   products do not share a currency
   */
  create(scope: TenantScope, input: CreateOrder): Promise<OrderView>;
  /** Cancels and restocks. @throws AppError not_found, order_cancelled when it is cancelled already */
  cancel(scope: TenantScope, id: string): Promise<OrderView>;
}

export function createOrderService(db: Database, rowLimit: RowLimit): OrderService {
  return {
    async create(scope, { customerId, lines }) {
      await rowLimit.require(scope, 1 + lines.length);
      return db.write(scope, async (session) => {
        if (customerId !== null) await requireCustomer(session, customerId);
        const taken = await takeStock(session, lines);
        const order = await orders.insert(session, {
          // Last among the locks, because every other order of the tenant waits for it.
          number: await nextNumber(session, 'orders'),
          status: 'placed',
          customerId,
          ...totalOf(taken),
        });
        const written = await orderLines.insertMany(
          session,
          taken.map(({ productId, quantity, unitPriceCents }) => ({
            orderId: order.id,
            productId,
            quantity,
            unitPriceCents,
          })),
        );
        return orderView(order, written);
      });
    },

    async cancel(scope, id) {
      return db.write(scope, async (session) => {
        const order = await orders.require(session, id, { lock: true });
        if (order.status === 'cancelled') {
          throw new AppError('order_cancelled', 'The order has been cancelled before.');
        }
        const lines = await orderLines.findWhere(session, { orderId: id });
        await returnStock(session, lines);
        return orderView(await orders.update(session, id, { status: 'cancelled' }), lines);
      });
    },

    async list(scope, request) {
      return db.read(scope, async (session) => {
        const { rows, ...ends } = await orders.page(session, pageRequest(request));
        if (!request.include.includes('lines')) return { rows: rows.map((row) => orderView(row)), ...ends };
        const lines = await linesByOrder(session, rows);
        return { rows: rows.map((row) => orderView(row, lines.get(row.id) ?? [])), ...ends };
      });
    },

    count: (scope, where, { estimated = false, ...more } = {}) =>
      db.read(scope, (session) => {
        const { where: equal, ...others } = selectionOf({ where, ...more });
        return countIn(session, orders, equal, { ...others, estimated });
      }),
    get: (scope, id, options) =>
      db.read(scope, async (session) => withLines(session, await orders.require(session, id, options))),

    async patch(scope, id, { customerId }, versions) {
      return db.write(scope, async (session) => {
        if (customerId !== null) await requireCustomer(session, customerId);
        return withLines(session, await orders.update(session, id, { customerId }, versions));
      });
    },

    async remove(scope, id, versions) {
      return db.write(scope, async (session) => {
        const deletion = await orders.softDelete(session, id, versions);
        await orderLines.softDeleteWhere(session, { orderId: id }, deletion);
        return deletion;
      });
    },

    async restore(scope, id) {
      return db.write(scope, async (session) => {
        const { row, deletion } = await orders.restore(session, id);
        if (deletion !== undefined) await orderLines.restoreWith(session, deletion);
        return withLines(session, row);
      });
    },
  };
}

async function requireCustomer(session: WriteSession, id: string): Promise<void> {
  if ((await findUser(session, id)) !== undefined) return;
  throw new AppError('not_found', notFound().message, {
    errors: [{ pointer: '/customerId', code: 'not_found', message: 'There is no such customer.' }],
  });
}

function totalOf(lines: readonly TakenLine[]): Pick<Order, 'totalCents' | 'currency'> {
  const [first, ...others] = lines;
  if (first === undefined) throw new AppError('invalid_input', 'An order has at least one line.');
  if (others.some((line) => line.currency !== first.currency)) {
    throw new AppError('unprocessable', 'All products of an order have the same currency.');
  }
  const totalCents = lines.reduce((sum, line) => sum + line.unitPriceCents * line.quantity, 0);
  if (!Number.isSafeInteger(totalCents)) throw new AppError('unprocessable', 'The total is too large.');
  return { totalCents, currency: first.currency };
}

/** The view's `placedAt` is the row's createdAt. */
const columnOf = (field: string) => (field === 'placedAt' ? 'createdAt' : field) as keyof Order & string;

function selectionOf({ where = {}, filter, deleted }: Selection<OrderView>): Selection<Order> {
  return {
    where: Object.fromEntries(Object.entries(where).map(([field, value]) => [columnOf(field), value])),
    filter: filter?.map((condition) => ({ ...condition, field: columnOf(condition.field) })),
    deleted,
  };
}

function pageRequest(request: PageRequest<OrderView>): PageRequest<Order> {
  const { limit, sort, after, before } = request;
  return { ...selectionOf(request), limit, sort: { ...sort, field: columnOf(sort.field) }, after, before };
}

/** One statement for the lines of a whole page. */
async function linesByOrder(
  session: ReadSession,
  page: readonly Order[],
): Promise<ReadonlyMap<string, OrderLine[]>> {
  const byOrder = new Map<string, OrderLine[]>(page.map((order) => [order.id, []]));
  for (const line of await orderLines.findIn(session, 'orderId', [...byOrder.keys()])) {
    byOrder.get(line.orderId)?.push(line);
  }
  return byOrder;
}

async function withLines(session: ReadSession, order: Order): Promise<OrderView> {
  return orderView(order, await orderLines.findWhere(session, { orderId: order.id }));
}

function orderView(order: Order, lines?: readonly OrderLine[]): OrderView {
  const { createdAt, updatedAt, version, ...own } = order;
  return {
    ...own,
    ...(lines === undefined
      ? {}
      : {
          lines: lines.map(({ productId, quantity, unitPriceCents }) => ({
            productId,
            quantity,
            unitPriceCents,
          })),
        }),
    version,
    placedAt: createdAt,
    updatedAt,
  };
}
