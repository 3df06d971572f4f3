import { Client } from 'pg';
import { templateDatabase, testPasswords, type TestPostgres } from './provider.ts';
import { until } from './until.ts';

/** A database cloned from the template, on the primary and its replica. */
export interface TestDatabase {
  /** Environment variables for loadConfig(). */
  env(): Record<string, string>;
  /** Runs SQL as a superuser on the primary, whom no policy binds. */
  superuser<Row extends object>(text: string, values?: unknown[]): Promise<Row[]>;
  /** Runs SQL as `tenantry_app`, outside all of our code; `node` counts replicas from 0. */
  app<Row extends object>(text: string, values?: unknown[], node?: 'primary' | number): Promise<Row[]>;
  /** Of a superuser, on the primary. */
  superuserUrl(): string;
  /** Resolves when the replicas have replayed all that has been written so far. */
  caughtUp(): Promise<void>;
}

export async function createClone(
  postgres: TestPostgres,
  name: string,
  template = templateDatabase,
): Promise<void> {
  await query(postgres.primaryUrl, `drop database if exists ${name} with (force)`);
  await query(postgres.primaryUrl, `create database ${name} template ${template} owner tenantry_owner`);
  await query(postgres.primaryUrl, `revoke all on database ${name} from public`);
  await query(postgres.primaryUrl, `grant connect on database ${name} to tenantry_app`);
  await caughtUp(postgres);
}

export function testDatabase(postgres: TestPostgres, name: string): TestDatabase {
  const { primaryUrl, replicaUrls } = postgres;
  const app = (url: string) => as(url, name, 'tenantry_app', testPasswords.appPassword);
  return {
    env: () => ({
      DATABASE_URL: app(primaryUrl),
      DATABASE_REPLICA_URLS: replicaUrls.map(app).join(','),
      DATABASE_ADMIN_URL: as(primaryUrl, name, 'tenantry_owner', testPasswords.ownerPassword),
    }),
    superuser: (text, values) => query(inDatabase(primaryUrl, name), text, values),
    superuserUrl: () => inDatabase(primaryUrl, name),
    app: (text, values, node = 'primary') =>
      query(app(node === 'primary' ? primaryUrl : (replicaUrls[node] ?? '')), text, values),
    caughtUp: () => caughtUp(postgres),
  };
}

async function caughtUp({ primaryUrl, replicaUrls }: TestPostgres): Promise<void> {
  const [{ lsn } = { lsn: '' }] = await query<{ lsn: string }>(
    primaryUrl,
    'select pg_current_wal_insert_lsn()::text as lsn',
  );
  for (const url of replicaUrls) {
    await until(async () => {
      const [row] = await query<{ there: boolean }>(
        url,
        'select pg_last_wal_replay_lsn() >= $1::pg_lsn as there',
        [lsn],
      );
      return row?.there === true;
    });
  }
}

function as(superuserUrl: string, database: string, user: string, password: string): string {
  const url = new URL(inDatabase(superuserUrl, database));
  url.username = user;
  url.password = password;
  return url.href;
}

function inDatabase(superuserUrl: string, database: string): string {
  const url = new URL(superuserUrl);
  url.pathname = `/${database}`;
  return url.href;
}

/** Runs SQL on a connection of its own. */
export async function query<Row extends object>(
  url: string,
  text: string,
  values?: unknown[],
): Promise<Row[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Row>(text, values)).rows;
  } finally {
    await client.end();
  }
}
