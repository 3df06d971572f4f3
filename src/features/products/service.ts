import {
  type BulkRecords,
  createBulkRecords,
  createRecords,
  type Database,
  type Records,
  type RowLimit,
  type WriteSession,
} from '../../db/index.ts';
import { AppError, type FieldError, notFound } from '../../errors.ts';
import { products } from './repository.ts';
import type { CreateProduct, ProductView } from './schema.ts';

export interface ProductService extends Records<ProductView> {
  bulk: BulkRecords<ProductView, CreateProduct>;
}

export function createProductService(db: Database, rowLimit: RowLimit): ProductService {
  return { ...createRecords(db, products, rowLimit), bulk: createBulkRecords(db, products, rowLimit) };
}

export interface StockLine {
  productId: string;
  quantity: number;
}

export interface TakenLine extends StockLine {
  unitPriceCents: number;
  currency: string;
}

/**
 * Takes stock within the unit of work of a neighbour. The products are locked in the order of their ids, so two orders
 * over the same products wait for each other instead of dead-locking.
 *
 * @throws AppError not_found for a product that is not there, insufficient_stock; both name the lines
 */
export async function takeStock(session: WriteSession, lines: readonly StockLine[]): Promise<TakenLine[]> {
  const ids = lines.map((line) => line.productId);
  const found = new Map((await products.findMany(session, ids, { lock: true })).map((row) => [row.id, row]));
  const missing = faults(
    lines,
    (line) => !found.has(line.productId),
    'not_found',
    'There is no such product.',
  );
  if (missing.length > 0) throw new AppError('not_found', notFound().message, { errors: missing });
  const short = faults(
    lines,
    (line) => (found.get(line.productId)?.stock ?? 0) < line.quantity,
    'insufficient_stock',
    'There is too little stock.',
  );
  if (short.length > 0) {
    throw new AppError('insufficient_stock', 'There is too little stock for this order.', { errors: short });
  }
  await changeStock(session, lines, -1, found);
  return lines.map((line) => {
    const { priceCents = 0, currency = '' } = found.get(line.productId) ?? {};
    return { ...line, unitPriceCents: priceCents, currency };
  });
}

/** Puts stock back, into products that are still there. */
export async function returnStock(session: WriteSession, lines: readonly StockLine[]): Promise<void> {
  const ids = lines.map((line) => line.productId);
  const found = new Map((await products.findMany(session, ids, { lock: true })).map((row) => [row.id, row]));
  await changeStock(session, lines, 1, found);
}

async function changeStock(
  session: WriteSession,
  lines: readonly StockLine[],
  sign: 1 | -1,
  found: ReadonlyMap<string, ProductView>,
): Promise<void> {
  const stock = new Map<string, number>();
  for (const { productId, quantity } of lines) {
    const product = found.get(productId);
    if (product !== undefined) stock.set(productId, product.stock + sign * quantity);
  }
  await products.updateEach(session, 'stock', stock);
}

function faults(
  lines: readonly StockLine[],
  isFault: (line: StockLine) => boolean,
  code: string,
  message: string,
): FieldError[] {
  return lines.flatMap((line, index) =>
    isFault(line) ? [{ pointer: `/lines/${index}/productId`, code, message }] : [],
  );
}
