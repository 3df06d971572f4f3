import type { Client } from 'pg';

/** The tenants of the bench and what they hold. Every id follows from numbers, so that nobody needs a list of them. */
export const tenantCount = 200;
export const productsPerTenant = 1000;
/** The first user of each tenant only reads, the second only writes, the others do both. */
export const usersPerTenant = 10;

type Kind = 'tenant' | 'user' | 'product';
const prefixes: Record<Kind, string> = {
  tenant: '00000000-0000-7000-8001-',
  user: '00000000-0000-7000-8002-',
  product: '00000000-0000-7000-8003-',
};

export const tenantIdOf = (tenant: number): string => id('tenant', tenant);
export const userIdOf = (tenant: number, user: number): string => id('user', tenant * usersPerTenant + user);
export const productIdOf = (tenant: number, product: number): string =>
  id('product', tenant * productsPerTenant + product);
export const skuOf = (product: number): string => `sku-${product}`;

function id(kind: Kind, number: number): string {
  return prefixes[kind] + number.toString(16).padStart(12, '0');
}

/** The same in SQL. @param number an SQL expression of type integer */
export function idInSql(kind: Kind, number: string): string {
  return `('${prefixes[kind]}' || lpad(to_hex(${number}), 12, '0'))::uuid`;
}

/**
 * Fills a migrated database past all services, which hash a password per tenant; some 5 s.
 *
 * @param client of a superuser, whom no policy binds
 * @param moreRows products of the first tenant beyond those that all have
 */
export async function populate(client: Client, moreRows: number): Promise<void> {
  await client.query(`
    insert into control.tenants (id, slug, name, isolation, schema_name, status)
    select ${idInSql('tenant', 't')}, 'bench-' || t, 'Bench ' || t, 'shared', 'shared', 'active'
    from generate_series(0, ${tenantCount - 1}) t`);
  await client.query(`
    insert into shared.users (tenant_id, id, email, name, role, password_hash)
    select ${idInSql('tenant', 't')}, ${idInSql('user', `t * ${usersPerTenant} + u`)},
      'user-' || u || '@bench-' || t || '.test', 'User ' || u, 'member', 'nobody logs in with a password'
    from generate_series(0, ${tenantCount - 1}) t, generate_series(0, ${usersPerTenant - 1}) u`);
  // The tenants' rows lie in turns, as they would if all of them had been working for a while.
  await client.query(`
    insert into shared.products (tenant_id, id, sku, name, description, price_cents, currency, stock, created_at,
      updated_at)
    select ${idInSql('tenant', 't')}, ${idInSql('product', `t * ${productsPerTenant} + p`)},
      'sku-' || p, 'Product ' || p, 'A product as good as any other of its kind, no. ' || p,
      100 + p, 'USD', p, now() - make_interval(secs => ${productsPerTenant} - p),
      now() - make_interval(secs => ${productsPerTenant} - p)
    from generate_series(0, ${productsPerTenant - 1}) p, generate_series(0, ${tenantCount - 1}) t`);
  await client.query(`
    insert into shared.products (tenant_id, id, sku, name, description, price_cents, currency, stock)
    select ${idInSql('tenant', '0')}, gen_random_uuid(), 'more-' || p, 'Product ' || p,
      'A product as good as any other of its kind, no. ' || p, 100 + p, 'USD', p
    from generate_series(1, ${moreRows}) p`);
  await client.query('vacuum analyze');
  await client.query('checkpoint');
}
