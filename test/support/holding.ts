import type { TestDatabase } from './database.ts';
import { withConnection } from './connection.ts';

/** Runs `fn` while somebody's transaction has done `sql` and not ended, as somebody who has gone to lunch in it. */
export function holding<T>(database: TestDatabase, sql: string, fn: () => Promise<T>): Promise<T> {
  return withConnection(database.superuserUrl(), async (client) => {
    await client.query(`begin; ${sql}`);
    return fn(); // the end of the connection rolls back
  });
}
