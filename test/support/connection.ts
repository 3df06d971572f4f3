import { Client } from 'pg';
import { sessionOn, type Tenant, tenantContext, type WriteSession } from '../../src/db/index.ts';
import type { TestDatabase } from './database.ts';

/** Lends a connection that no pool of ours knows. */
export async function withConnection<T>(url: string, fn: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await fn(client);
  } finally {
    await client.end();
  }
}

/**
 * A unit of work of a tenant on a superuser's connection: no policy binds it, so only what the statements themselves
 * say keeps tenants apart. Committed when `fn` resolves.
 */
export function withoutPolicies<T>(
  database: TestDatabase,
  tenant: Tenant,
  fn: (session: WriteSession) => Promise<T>,
): Promise<T> {
  return withConnection(database.superuserUrl(), async (client) => {
    await client.query(`begin; ${tenantContext(tenant)}`);
    const value = await fn(sessionOn(client, tenant)); // the end of the connection rolls back
    await client.query('commit');
    return value;
  });
}
