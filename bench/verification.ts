import type { Contender } from './contender.ts';
import { productIdOf, productsPerTenant, skuOf, tenantIdOf } from './population.ts';
import { type BenchRequest, createRequests, pageSize } from './request.ts';
import { createMint } from './token.ts';

/** What every contender answers, with its fields in any order. */
interface Product {
  id: string;
  sku: string;
  priceCents: number;
  stock: number;
}

const fields = [
  ...['id', 'sku', 'name', 'description', 'priceCents', 'currency', 'stock', 'version'],
  ...['createdAt', 'updatedAt'],
];
/** The tenants that are looked at; the insert goes to another than the page. */
const [asked, neighbour, written] = [6, 7, 5];
const user = 9;

/**
 * Asks a contender for everything that will be measured, before it is: a server that answers something else, or another
 * tenant's rows, is not worth a figure.
 *
 * @throws with what was expected
 */
export async function verify(contender: Contender, url: string, jwtSecret: string): Promise<void> {
  const requests = createRequests(contender.dialect, createMint(jwtSecret));

  async function ask(request: BenchRequest, status: number): Promise<unknown> {
    const { path, ...init } = request;
    const answer = await fetch(url + path, init);
    const text = await answer.text();
    expect(answer.status === status, `${init.method} ${path}: ${answer.status} ${text}, not ${status}`);
    return JSON.parse(text);
  }

  function expect(truth: boolean, complaint: string): void {
    if (!truth) throw new Error(`${contender.label} answers wrongly. ${complaint}`);
  }

  function expectProduct(product: Product, sku: string, values: { priceCents: number; stock: number }): void {
    const missing = fields.filter((field) => !(field in product));
    expect(missing.length === 0, `A product lacks ${missing.join(', ')}`);
    const { priceCents, stock } = values;
    const same = product.sku === sku && product.priceCents === priceCents && product.stock === stock;
    expect(same, `Not ${sku}: ${JSON.stringify(product)}`);
  }

  const one = (await ask(requests.product(asked, user, 3), 200)) as Product;
  expect(one.id === productIdOf(asked, 3), `Another row than asked for: ${one.id}`);
  expectProduct(one, skuOf(3), { priceCents: 103, stock: 3 });
  await ask(requests.byId(neighbour, user, one.id), 404);

  const page = (await ask(requests.page(asked, user), 200)) as { data: Product[] };
  const newest = Array.from({ length: pageSize }, (_, place) =>
    productIdOf(asked, productsPerTenant - 1 - place),
  );
  const ids = page.data.map((product) => product.id);
  expect(ids.join() === newest.join(), `The page of ${tenantIdOf(asked)} holds ${ids.join(', ')}`);

  const sku = `verify-${contender.key}`;
  const created = (await ask(requests.insert(written, user, sku), 201)) as Product;
  expectProduct(created, sku, { priceCents: 1999, stock: 7 });
  const back = (await ask(requests.byId(written, user, created.id), 200)) as Product;
  expectProduct(back, sku, { priceCents: 1999, stock: 7 });
  await ask(requests.byId(neighbour, user, created.id), 404);
}
