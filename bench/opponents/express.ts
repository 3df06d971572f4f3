/* oxlint-disable oxc/no-async-endpoint-handlers -- Express 5 forwards rejections by itself. */
import { randomUUID } from 'node:crypto';
import express from 'express';
import { createPool, endOnSignal, type NewProduct, settings, statements } from './products.ts';

/**
 * A, the yardstick: Express and pg with named statements and an explicit WHERE. No authentication, no logging, no
 * validation, and no tenancy but the path's word for it.
 */
const given = settings();
const pool = createPool(given);
const app = express();

app.get('/tenants/:tenant/products/:id', async (req, res) => {
  const { rows } = await pool.query<object>({
    ...statements.byId,
    values: [req.params.tenant, req.params.id],
  });
  if (rows[0] === undefined) res.status(404).json({ status: 404 });
  else res.json(rows[0]);
});

app.get('/tenants/:tenant/products', async (req, res) => {
  const { rows } = await pool.query<object>({
    ...statements.page,
    values: [req.params.tenant, Number(req.query['limit'])],
  });
  res.json({ data: rows });
});

app.post('/tenants/:tenant/products', express.json(), async (req, res) => {
  const { sku, name, priceCents, stock } = req.body as NewProduct;
  const { rows } = await pool.query<object>({
    ...statements.insert,
    values: [req.params.tenant, randomUUID(), sku, name, priceCents, stock],
  });
  res.status(201).json(rows[0]);
});

endOnSignal();
app.listen(given.port, '127.0.0.1');
