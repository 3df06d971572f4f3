import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createPool, endOnSignal, type NewProduct, settings, statements } from './products.ts';

/** C: what Node and pg can do when nothing stands between them. */
const given = settings();
const pool = createPool(given);

async function handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
  const [path = '', query = ''] = (req.url ?? '').split('?');
  const [, , tenant, , id] = path.split('/');
  if (tenant === undefined) {
    answer(res, 404, { status: 404 });
  } else if (req.method === 'POST') {
    const { sku, name, priceCents, stock } = (await readJson(req)) as NewProduct;
    const values = [tenant, randomUUID(), sku, name, priceCents, stock];
    const { rows } = await pool.query<object>({ ...statements.insert, values });
    answer(res, 201, rows[0] ?? {});
  } else if (id === undefined) {
    const values = [tenant, Number(query.slice('limit='.length))];
    const { rows } = await pool.query<object>({ ...statements.page, values });
    answer(res, 200, { data: rows });
  } else {
    const { rows } = await pool.query<object>({ ...statements.byId, values: [tenant, id] });
    if (rows[0] === undefined) answer(res, 404, { status: 404 });
    else answer(res, 200, rows[0]);
  }
}

function answer(res: ServerResponse, status: number, body: object): void {
  const text = JSON.stringify(body);
  res.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  res.end(text);
}

async function readJson(req: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString());
}

endOnSignal();
createServer((req, res) => {
  handle(req, res).catch((error: Error) => answer(res, 500, { error: error.message }));
}).listen(given.port, '127.0.0.1');
