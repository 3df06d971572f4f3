import pg from 'pg';

/** What the hand-written contenders have in common: the statements, the new id, the port and the end. */
const columns = `id, sku, name, description, price_cents as "priceCents", currency, stock, version,
  created_at as "createdAt", updated_at as "updatedAt"`;

/** Named, so that each connection prepares them once. The first parameter is the tenant. */
export const statements = {
  byId: {
    name: 'product-by-id',
    text: `select ${columns} from shared.products where tenant_id = $1 and id = $2 and deleted_at is null`,
  },
  page: {
    name: 'product-page',
    text: `select ${columns} from shared.products where tenant_id = $1 and deleted_at is null
      order by created_at desc, id desc limit $2`,
  },
  insert: {
    name: 'product-insert',
    text: `insert into shared.products (tenant_id, id, sku, name, price_cents, currency, stock)
      values ($1, $2, $3, $4, $5, 'USD', $6) returning ${columns}`,
  },
} as const;

export interface NewProduct {
  sku: string;
  name: string;
  priceCents: number;
  stock: number;
}

export interface Settings {
  port: number;
  poolMax: number;
  databaseUrl: string;
  jwtSecret: string;
}

/** From the command line, in this order. */
export function settings(): Settings {
  const [port, poolMax, databaseUrl = '', jwtSecret = ''] = process.argv.slice(2);
  return { port: Number(port), poolMax: Number(poolMax), databaseUrl, jwtSecret };
}

export function createPool({ databaseUrl, poolMax }: Settings): pg.Pool {
  readBigintAsNumber();
  return new pg.Pool({ connectionString: databaseUrl, max: poolMax });
}

/** Cents fit into a double; pg gives bigint as text by default. */
export function readBigintAsNumber(): void {
  pg.types.setTypeParser(pg.types.builtins.INT8, Number);
}

/** By process.exit, so that a CPU profile gets written. */
export function endOnSignal(): void {
  process.once('SIGTERM', () => process.exit(0));
}
