/** A superuser's connection to one server, lent for one piece of work. */
import { Client, type QueryResultRow } from 'pg';

const CONNECT_MS = 10_000;

export type Ask = <R extends QueryResultRow>(sql: string, values?: unknown[]) => Promise<R[]>;

/** Opens a connection, lends it to `fn`, and closes it. */
export async function withConnection<T>(connectionString: string, fn: (ask: Ask) => Promise<T>): Promise<T> {
  const client = new Client({
    connectionString,
    ssl: false, // or PGSSLMODE of the environment would decide
    application_name: 'tenantry-cluster',
    connectionTimeoutMillis: CONNECT_MS,
  });
  client.on('error', () => {}); // the query that was running is rejected too; that is enough
  await client.connect();
  try {
    return await fn(
      async <R extends QueryResultRow>(sql: string, values?: unknown[]) =>
        (await client.query<R>(sql, values)).rows,
    );
  } finally {
    await client.end().catch(() => {});
  }
}
