import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Client } from 'pg';
import type { Compiled } from './compiled.ts';
import { withClient } from './connection.ts';
import { idInSql, productsPerTenant, tenantCount, tenantIdOf, usersPerTenant } from './population.ts';
import type { World } from './world.ts';

/** The fleet: tenants with schemas of their own, numbered on from those of the population. */
export const numberOf = (member: number): number => tenantCount + member;
export const slugOf = (member: number): string => `fleet-${member}`;
export const schemaOf = (member: number): string => `tenant_${slugOf(member)}`;

const run = promisify(execFile);
const outputBytes = 64 * 2 ** 20;

/**
 * Makes the tenants past all services, which hash a password each; `migrate up` finds schemas that are not there, and
 * makes them as it makes all others.
 *
 * @param filled so many of them get the rows that all tenants of the population have
 */
export async function makeFleet(
  { ownerUrl }: World,
  compiled: Compiled,
  { tenants, filled, parallel }: { tenants: number; filled: number; parallel: number },
): Promise<void> {
  await withClient(ownerUrl, async (client) => {
    await client.query(
      `insert into control.tenants (id, slug, name, isolation, schema_name, status)
       select ${idInSql('tenant', `${tenantCount} + t`)}, 'fleet-' || t, 'Fleet ' || t, 'schema',
         'tenant_fleet-' || t, 'active'
       from generate_series(0, $1::int - 1) t`,
      [tenants],
    );
  });
  await run(
    process.execPath,
    [compiled.program('src/cli/main.ts'), ...['migrate', 'up', '--parallel', String(parallel)]],
    { env: { DATABASE_ADMIN_URL: ownerUrl }, maxBuffer: outputBytes },
  );
  await withClient(ownerUrl, async (client) => {
    for (let member = 0; member < filled; member += 1) await fill(client, member);
    await client.query('analyze');
  });
}

/** Row level security binds the owner, too. */
async function fill(client: Client, member: number): Promise<void> {
  const tenant = numberOf(member);
  const id = tenantIdOf(tenant);
  await client.query(
    `begin; set local app.tenant_id = '${id}'; set local search_path = "${schemaOf(member)}"`,
  );
  await client.query(
    `insert into users (tenant_id, id, email, name, role, password_hash)
     select $1, ${idInSql('user', `${tenant * usersPerTenant} + u`)}, 'user-' || u || '@fleet.test', 'User ' || u,
       'member', 'nobody logs in with a password'
     from generate_series(0, ${usersPerTenant - 1}) u`,
    [id],
  );
  await client.query(
    `insert into products (tenant_id, id, sku, name, description, price_cents, currency, stock)
     select $1, ${idInSql('product', `${tenant * productsPerTenant} + p`)}, 'sku-' || p, 'Product ' || p,
       'A product as good as any other of its kind, no. ' || p, 100 + p, 'USD', p
     from generate_series(0, ${productsPerTenant - 1}) p`,
    [id],
  );
  await client.query('commit');
}
