import { readFile } from 'node:fs/promises';
import { Client } from 'pg';

/** Makes the roles of migrations/roles.sql, with these passwords, and an empty database that tenantry_owner owns. */
export interface DatabaseOptions {
  /** Of a superuser, on the primary. */
  superuserUrl: string;
  database: string;
  ownerPassword: string;
  appPassword: string;
}

const rolesFile = new URL('../migrations/roles.sql', import.meta.url);

/** What is there already stays; the passwords are set each time. */
export async function prepareDatabase(options: DatabaseOptions): Promise<void> {
  const { superuserUrl, database, ownerPassword, appPassword } = options;
  const client = new Client({ connectionString: superuserUrl });
  await client.connect();
  try {
    const roles = await client.query(`select from pg_roles where rolname = 'tenantry_owner'`);
    if (roles.rowCount === 0) await client.query(await readFile(rolesFile, 'utf8'));
    await client.query(
      `alter role tenantry_owner password ${client.escapeLiteral(ownerPassword)};
       alter role tenantry_app password ${client.escapeLiteral(appPassword)}`,
    );
    const existing = await client.query('select from pg_database where datname = $1', [database]);
    if (existing.rowCount !== 0) return;
    const name = client.escapeIdentifier(database);
    await client.query(`create database ${name} owner tenantry_owner`);
    await client.query(`revoke all on database ${name} from public`);
    await client.query(`grant connect on database ${name} to tenantry_app`);
  } finally {
    await client.end();
  }
}
