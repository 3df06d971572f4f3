import type { TestDatabase } from './database.ts';
import { tenantTables } from './rows.ts';

/**
 * Puts a copy of every row of the schema `shared` into every schema of a tenant, as a broken import would: from then on
 * each table holds rows of several tenants, and only policies and WHERE tell them apart.
 */
export async function plantStrays(database: TestDatabase): Promise<void> {
  const places = (await tenantTables(database)).filter((place) => !place.startsWith('shared.'));
  const copies = places.map(
    (place) => `insert into ${place} select * from shared.${place.split('.')[1]} on conflict do nothing;`,
  );
  // Foreign keys are checked by triggers, which this setting leaves out.
  await database.superuser(`set session_replication_role = replica; ${copies.join(' ')}`);
}
