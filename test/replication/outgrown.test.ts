import { beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { replicasFresh, type TestTenant, useTenantry } from '../support/tenantry.ts';

/**
 * Connections keep prepared statements, and a migration changes the types of columns under them, in one schema after the
 * other: requests of all tenants notice nothing.
 */
jest.setTimeout(60_000);

const database = useDatabase();
const service = useTenantry(database);
const slugs = ['ash', 'birch', 'cedar'];
const tenants: TestTenant[] = [];
beforeAll(async () => {
  for (const slug of slugs) tenants.push(await service.onboard(slug, 'schema'));
});
beforeEach(() => replicasFresh(service));

const tainted = () => service.tenantry.data.db.nodes().map(({ name, pool }) => [name, pool.tainted]);

let made = 0;
const product = () => ({ sku: `S-${(made += 1)}`, name: 'Saw', priceCents: 1, stock: 9 });

/** What each answer says of itself: its status, and the reason why its node was chosen. */
async function round({ client }: TestTenant): Promise<string[]> {
  const post = () => client.post('/v1/products').send(product());
  const first = await post();
  const { id } = first.body as { id: string };
  const order = client.post('/v1/orders').send({ lines: [{ productId: id, quantity: 1 }] });
  const answers = await Promise.all([
    client.get('/v1/products?limit=2'),
    client.get(`/v1/products/${id}`),
    client.patch(`/v1/products/${id}`).send({ name: 'Axe' }),
    post(),
    order,
    client.get('/v1/me'),
  ]);
  return [first, ...answers].map(
    ({ status, headers }) => `${status} ${/reason=([\w-]+)/.exec(String(headers['served-by']))?.[1]}`,
  );
}

describe.each([
  ['bigint', 'alter stock type bigint'],
  ['a text of its own length', 'alter name type varchar(300)'],
  ['a new one that is added', 'add column colour text'],
  ['none: it is dropped', 'drop column colour'],
])('the type of a column becomes %s', (_, change) => {
  it('under load, tenant after tenant: no request fails, and no connection is lost for it', async () => {
    const before = tainted();
    let over = false;
    const seen = new Set<string>();
    const load = async (tenant: TestTenant) => {
      for (let more = 3; more > 0; more -= over ? 1 : 0) {
        for (const told of await round(tenant)) seen.add(told);
      }
    };
    const loads = tenants.map(load);
    for (const tenant of tenants) {
      for (let rounds = 0; rounds < 2; rounds += 1) await Promise.all(tenants.map(round));
      await database.superuser(`alter table ${tenant.scope.tenant.schema}.products ${change}`);
    }
    over = true;
    await Promise.all(loads);
    expect([...seen].filter((told) => !told.startsWith('20'))).toEqual([]);
    expect([...seen].filter((told) => told.endsWith('replica-failed'))).toEqual([]);
    expect([...seen].some((told) => /caught-up|fresh/.test(told))).toBe(true);
    expect(tainted()).toEqual(before);
  });
});
