import { withConnection } from './connection.ts';
import type { TestDatabase } from './database.ts';

/** While this lasts nobody makes a schema that waits for a tenant: as if another process were about to. */
export function withTurn<T>(database: TestDatabase, fn: () => Promise<T>): Promise<T> {
  return withConnection(database.superuserUrl(), async (client) => {
    await client.query(`begin; select pg_advisory_xact_lock(hashtextextended('tenantry warm', 0))`);
    return fn(); // the end of the connection rolls back
  });
}

/** As if what waits had been made some minutes ago. */
export async function settle(database: TestDatabase): Promise<void> {
  await database.superuser(`update control.warm_schemas set made_at = made_at - interval '5 minutes'`);
}
