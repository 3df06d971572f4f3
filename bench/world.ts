import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { startCluster } from '../cluster/cluster.ts';
import { prepareDatabase } from '../cluster/database.ts';
import type { Compiled } from './compiled.ts';
import { populate } from './population.ts';

/** What all contenders stand on: one primary and one replica with a migrated, filled database. */
export interface World {
  /** `tenantry_app`, bound by row level security. */
  app: { primaryUrl: string; replicaUrls: string[] };
  /** On the primary, of a role that no policy binds: contenders without tenancy have nothing to tell one. */
  plainUrl: string;
  /** `tenantry_owner`, on the primary. */
  ownerUrl: string;
  jwtSecret: string;
  postgresVersion: string;
}

const database = 'tenantry_bench';
const run = promisify(execFile);

/**
 * Lends a world and removes it afterwards, also when this process is killed. The servers are durable (fsync), as in
 * production: else writes would look better than they are.
 */
export async function withWorld<T>(
  {
    compiled,
    onProgress,
    moreRows = 0,
  }: { compiled: Compiled; onProgress: (message: string) => void; moreRows?: number },
  fn: (world: World) => Promise<T>,
): Promise<T> {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'tenantry-bench-'));
  const cluster = await startCluster({ dir, replicas: 1, durable: true, removeOnStop: true, onProgress });
  try {
    const [owner, app, plain] = [password(), password(), password()];
    const superuserUrl = cluster.primaryUrl;
    await prepareDatabase({ superuserUrl, database, ownerPassword: owner, appPassword: app });
    onProgress('Migrating');
    await run(process.execPath, [compiled.program('src/cli/main.ts'), 'migrate', 'up'], {
      env: { DATABASE_ADMIN_URL: cluster.urlsFor(database, 'tenantry_owner', owner).primaryUrl },
    });
    onProgress('Filling the database');
    const postgresVersion = await fill(inDatabase(superuserUrl), plain, moreRows);
    await cluster.caughtUp();
    return await fn({
      app: cluster.urlsFor(database, 'tenantry_app', app),
      plainUrl: cluster.urlsFor(database, 'bench_plain', plain).primaryUrl,
      ownerUrl: cluster.urlsFor(database, 'tenantry_owner', owner).primaryUrl,
      jwtSecret: password(),
      postgresVersion,
    });
  } finally {
    await cluster.stop();
  }
}

/** @returns PostgreSQL's version */
async function fill(url: string, plainPassword: string, moreRows: number): Promise<string> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(`create role bench_plain login bypassrls password '${plainPassword}'`);
    await client.query(`grant connect on database ${database} to bench_plain`);
    await client.query('grant usage on schema shared to bench_plain');
    await client.query('grant select, insert on shared.products to bench_plain');
    await populate(client, moreRows);
    const { rows } = await client.query<{ server_version: string }>('show server_version');
    return rows[0]?.server_version ?? 'unknown';
  } finally {
    await client.end();
  }
}

function password(): string {
  return randomBytes(32).toString('hex');
}

function inDatabase(superuserUrl: string): string {
  const url = new URL(superuserUrl);
  url.pathname = `/${database}`;
  return url.href;
}
