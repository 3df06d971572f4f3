import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { startCluster } from '../../cluster/cluster.ts';
import { prepareDatabase } from '../../cluster/database.ts';
import { buildControlPlane, createKernel } from '../../src/build.ts';
import { loadConfig } from '../../src/config.ts';
import { programsVariable } from './child.ts';
import { compile } from './compiled.ts';
import { startContainers } from './containers.ts';

/**
 * The PostgreSQL of a test run: `TEST_DATABASE_URL` (a superuser of a server made for tests, with
 * `TEST_DATABASE_REPLICA_URL` beside it), else containers when an engine answers within 3 s, else the embedded binaries.
 * `TEST_PG=url|docker|embedded` insists on one, so that nothing falls back in silence.
 */
export interface TestPostgres {
  /** Superuser, database postgres. */
  primaryUrl: string;
  replicaUrls: readonly string[];
}

interface Provider extends TestPostgres {
  kind: string;
  stop(): Promise<void>;
}

/** The workers of the run read it; see database.ts. */
export const postgresVariable = 'TENANTRY_TEST_POSTGRES';
export const templateDatabase = 'tenantry_template';
export const testPasswords = { ownerPassword: 'owner-of-tests', appPassword: 'app-of-tests' };

/** Where the programs are that tests start; see child.ts. Of this run: another one may be under way beside it. */
const programs = path.resolve(import.meta.dirname, `../../node_modules/.cache/test-${process.pid}`);

let provider: Provider | undefined;

export async function setUp(): Promise<void> {
  await compile('test/tsconfig.build.json', programs);
  process.env[programsVariable] = programs;
  provider = await choose();
  const { kind, primaryUrl, replicaUrls } = provider;
  process.stderr.write(`tests run on ${kind}: a primary and ${replicaUrls.length} replica(s)\n`);
  try {
    await makeTemplate(primaryUrl);
  } catch (error) {
    await provider.stop();
    throw error;
  }
  process.env[postgresVariable] = JSON.stringify({ primaryUrl, replicaUrls } satisfies TestPostgres);
}

export async function tearDown(): Promise<void> {
  await provider?.stop();
  await rm(programs, { recursive: true, force: true });
}

async function choose(): Promise<Provider> {
  const wanted = process.env['TEST_PG'] ?? 'auto';
  const url = process.env['TEST_DATABASE_URL'];
  if (url !== undefined && (wanted === 'auto' || wanted === 'url')) {
    const replica = process.env['TEST_DATABASE_REPLICA_URL'];
    return {
      kind: 'TEST_DATABASE_URL',
      primaryUrl: url,
      replicaUrls: replica === undefined ? [] : [replica],
      stop: async () => undefined,
    };
  }
  if (wanted === 'url') throw new Error('TEST_PG=url needs TEST_DATABASE_URL');
  if (wanted !== 'embedded') {
    const containers = await startContainers();
    if (containers !== undefined) return containers;
    if (wanted === 'docker') throw new Error('TEST_PG=docker, and no container engine answers');
  }
  const dir = await mkdtemp(path.join(os.tmpdir(), 'tenantry-test-'));
  const cluster = await startCluster({ dir, replicas: 1, durable: false, removeOnStop: true });
  return {
    kind: 'embedded PostgreSQL',
    primaryUrl: cluster.primaryUrl,
    replicaUrls: cluster.replicaUrls,
    stop: () => cluster.stop(),
  };
}

/** A database with all migrations, from which each test file's own is cloned in some 50 ms. */
export async function makeTemplate(superuserUrl: string): Promise<void> {
  await prepareDatabase({ superuserUrl, database: templateDatabase, ...testPasswords });
  const url = new URL(superuserUrl);
  url.username = 'tenantry_owner';
  url.password = testPasswords.ownerPassword;
  url.pathname = `/${templateDatabase}`;
  const control = buildControlPlane(
    createKernel(loadConfig({ DATABASE_ADMIN_URL: url.href, LOG_LEVEL: 'silent' }, 'manage')),
  );
  try {
    const { results } = await control.runner.up();
    const failed = results.find((result) => result.error !== undefined);
    if (failed !== undefined) throw new Error(`${failed.schema}: ${failed.error}`);
  } finally {
    await control.stop();
  }
}
