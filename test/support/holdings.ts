import { beforeAll } from '@jest/globals';
import { resources } from '../isolation/registry.ts';
import { password, type TestTenant, type TestTenantry } from './tenantry.ts';

/** Of each resource of a tenant one that is there and one that has been deleted; their ids. */
export interface Holdings {
  tenant: TestTenant;
  users: Holding;
  products: Holding;
  orders: Holding;
  'api-keys': Holding;
  /** By resource of the registry. */
  others: Readonly<Record<string, Holding>>;
}

export interface Holding {
  live: string;
  deleted: string;
}

export type Resource = 'users' | 'products' | 'orders';
/** What can be had of a tenant by an id and cannot be restored stands apart. */
export type Held = Resource | 'api-keys';

/** Values that no two tenants share, so that a filter for one shows whose row was found. */
export const skuOf = (slug: string, state: keyof Holding) => `${state}-${slug}`;
export const emailOf = (slug: string, state: keyof Holding) => `${state}@${slug.replaceAll('_', '-')}.test`;

/** Two tenants of each isolation. */
const tenants = [
  ['ash', 'shared'],
  ['birch', 'shared'],
  ['cedar', 'schema'],
  ['dogwood', 'schema'],
] as const;

/** To be called at the top of a test file, after useTenantry(): four tenants, and what each of them holds. */
export function useHoldings(service: TestTenantry) {
  const holdings: Record<string, Holdings> = {};
  beforeAll(async () => {
    for (const [slug, isolation] of tenants) {
      holdings[slug] = await createHoldings(await service.onboard(slug, isolation));
    }
  });

  function heldBy(slug: string): Holdings {
    const held = holdings[slug];
    if (held === undefined) throw new Error(`there is no tenant ${slug}`);
    return held;
  }

  return { holdings, heldBy };
}

let marks = 0;

export async function createHoldings(tenant: TestTenant): Promise<Holdings> {
  const { client, slug } = tenant;

  async function make(resource: string, body: (state: keyof Holding) => object): Promise<Holding> {
    const create = async (state: keyof Holding) => {
      // What is answered to it is a row of the tenant, too.
      const key = `${resource}-${state}-${slug}`;
      const answer = await client
        .post(`/v1/${resource}`)
        .set('Idempotency-Key', key)
        .send(body(state))
        .expect(201);
      return (answer.body as { id: string }).id;
    };
    const holding = { live: await create('live'), deleted: await create('deleted') };
    await client.delete(`/v1/${resource}/${holding.deleted}`).expect(204);
    return holding;
  }

  const users = await make('users', (state) => ({ email: emailOf(slug, state), password, name: slug }));
  const products = await make('products', (state) => ({
    sku: skuOf(slug, state),
    name: slug,
    priceCents: 100,
    stock: 1000,
  }));
  const orders = await make('orders', () => ({
    customerId: users.live,
    lines: [{ productId: products.live, quantity: 1 }],
  }));
  const keys = await make('api-keys', (state) => ({ name: `${state}-${slug}`, scopes: ['read'] }));
  const others: Record<string, Holding> = {};
  for (const [name, { body }] of Object.entries(resources)) {
    others[name] = await make(name, () => body((marks += 1)));
  }
  return { tenant, users, products, orders, 'api-keys': keys, others };
}
