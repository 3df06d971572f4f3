/* oxlint-disable oxc/no-async-endpoint-handlers -- Express 5 forwards rejections by itself. */
import { createSecretKey, randomUUID } from 'node:crypto';
import express, { type Request } from 'express';
import helmet from 'helmet';
import jwt from 'jsonwebtoken';
import createKnex, { type Knex } from 'knex';
import { pino } from 'pino';
import { pinoHttp } from 'pino-http';
import { z } from 'zod';
import { endOnSignal, readBigintAsNumber, settings } from './products.ts';

/**
 * B: the stack most teams would write for the same contract, with the usual parts used in the usual way. Bound by the
 * same row level security as Tenantry. The secret is a KeyObject: as a string each check would take 350 µs, and the
 * comparison would be about that alone.
 */
const given = settings();
const key = createSecretKey(Buffer.from(given.jwtSecret));
readBigintAsNumber();
const knex = createKnex({
  client: 'pg',
  connection: given.databaseUrl,
  pool: { min: 0, max: given.poolMax },
});

const columns = {
  ...{ id: 'id', sku: 'sku', name: 'name', description: 'description', priceCents: 'price_cents' },
  ...{ currency: 'currency', stock: 'stock', version: 'version' },
  ...{ createdAt: 'created_at', updatedAt: 'updated_at' },
};
const returning = Object.entries(columns).map(([field, column]) => `${column} as ${field}`);
const params = z.object({ id: z.uuid() });
const query = z.object({ limit: z.coerce.number().int().min(1).max(100).default(20) });
const body = z.strictObject({
  sku: z.string().trim().min(1).max(100),
  name: z.string().trim().min(1).max(200),
  priceCents: z.int().min(0),
  stock: z.int().min(0),
});

async function withTenant<T>(tenant: string, fn: (trx: Knex.Transaction) => Promise<T>): Promise<T> {
  return knex.transaction(async (trx) => {
    await trx.raw(`select set_config('app.tenant_id', ?, true)`, [tenant]);
    return fn(trx);
  });
}

/** Not all tenants' products, though the policy would see to that: the index leads with the tenant. */
function productsOf(trx: Knex.Transaction, tenant: string): Knex.QueryBuilder {
  return trx
    .withSchema('shared')
    .from('products')
    .select(columns)
    .where({ tenant_id: tenant })
    .whereNull('deleted_at');
}

function tenantOf(req: Request): string {
  const token = (req.headers.authorization ?? '').replace(/^Bearer /, '');
  const claims = jwt.verify(token, key, { algorithms: ['HS256'], issuer: 'tenantry', audience: 'tenantry' });
  if (typeof claims === 'string' || typeof claims['tid'] !== 'string')
    throw new Error('no tenant in the token');
  return claims['tid'];
}

const app = express();
app.use(pinoHttp({ logger: pino() }));
app.use(helmet());
app.use(express.json());

app.get('/v1/products/:id', async (req, res) => {
  const tenant = tenantOf(req);
  const { id } = params.parse(req.params);
  const row: unknown = await withTenant(tenant, async (trx) => productsOf(trx, tenant).where({ id }).first());
  if (row === undefined) res.status(404).json({ status: 404 });
  else res.json(row);
});

app.get('/v1/products', async (req, res) => {
  const tenant = tenantOf(req);
  const { limit } = query.parse(req.query);
  const order = [
    { column: 'created_at', order: 'desc' },
    { column: 'id', order: 'desc' },
  ];
  const data: unknown = await withTenant(tenant, async (trx) =>
    productsOf(trx, tenant).orderBy(order).limit(limit),
  );
  res.json({ data });
});

app.post('/v1/products', async (req, res) => {
  const tenant = tenantOf(req);
  const { priceCents, ...rest } = body.parse(req.body);
  const row = { ...rest, tenant_id: tenant, id: randomUUID(), price_cents: priceCents, currency: 'USD' };
  const rows: unknown[] = await withTenant(tenant, async (trx) =>
    trx.withSchema('shared').into('products').insert(row).returning(returning),
  );
  res.status(201).json(rows[0]);
});

endOnSignal();
app.listen(given.port, '127.0.0.1');
