import { productIdOf, tenantIdOf } from './population.ts';
import type { Mint } from './token.ts';

/**
 * How a contender is spoken to. `token`: the tenant is in the access token, as with Tenantry. `path`: it is in the path,
 * because there is no authentication.
 */
export type Dialect = 'token' | 'path';

export interface BenchRequest {
  method: 'GET' | 'POST';
  path: string;
  headers: Record<string, string>;
  body?: string;
}

/** The requests of all workloads, in one dialect. Tenants, users and products are counted from 0. */
export interface Requests {
  byId(tenant: number, user: number, id: string): BenchRequest;
  product(tenant: number, user: number, product: number): BenchRequest;
  /** The newest 20. */
  page(tenant: number, user: number): BenchRequest;
  /** @param sku unique within the tenant */
  insert(tenant: number, user: number, sku: string): BenchRequest;
}

export const pageSize = 20;

export function createRequests(dialect: Dialect, mint: Mint): Requests {
  const base = (tenant: number) =>
    dialect === 'token' ? '/v1/products' : `/tenants/${tenantIdOf(tenant)}/products`;
  const headers = (tenant: number, user: number): Record<string, string> =>
    dialect === 'token' ? { authorization: `Bearer ${mint(tenant, user)}` } : {};
  const get = (tenant: number, user: number, rest: string): BenchRequest => ({
    method: 'GET',
    path: base(tenant) + rest,
    headers: headers(tenant, user),
  });
  return {
    byId: (tenant, user, id) => get(tenant, user, `/${id}`),
    product: (tenant, user, product) => get(tenant, user, `/${productIdOf(tenant, product)}`),
    page: (tenant, user) => get(tenant, user, `?limit=${pageSize}`),
    insert: (tenant, user, sku) => ({
      method: 'POST',
      path: base(tenant),
      headers: { ...headers(tenant, user), 'content-type': 'application/json' },
      body: JSON.stringify({ sku, name: 'Written by the bench', priceCents: 1999, stock: 7 }),
    }),
  };
}
