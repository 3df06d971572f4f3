import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Cluster, startCluster } from '../cluster/cluster.ts';
import { prepareDatabase } from '../cluster/database.ts';
import { findFreePort } from '../cluster/port.ts';

/** A primary, two replicas and two processes of the service with the demo's tenants in it; gone without a trace after. */
export interface Stage {
  cluster: Cluster;
  /** Of the tenant APIs. */
  urls: string[];
  /** Of the admin APIs, in the same order. */
  adminUrls: string[];
  /** May be called twice. */
  close(): Promise<void>;
}

export const operator = { email: 'operator@tenantry.test', password: 'operator-password' };

const program = fileURLToPath(new URL('../bin/tenantry.js', import.meta.url));
const database = 'tenantry';

export async function openStage(onProgress: (message: string) => void): Promise<Stage> {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'tenantry-demo-'));
  // An empty folder of their own: the settings of a development cluster are not picked up.
  const cwd = path.join(dir, 'service');
  const services: ChildProcess[] = [];
  let cluster: Cluster | undefined;
  let closed: Promise<void> | undefined;

  async function end(): Promise<void> {
    await Promise.all(services.map(endOf));
    await cluster?.stop();
    await rm(dir, { recursive: true, force: true });
  }
  const close = () => (closed ??= end());

  try {
    cluster = await startCluster({
      dir: path.join(dir, 'cluster'),
      replicas: 2,
      durable: false,
      removeOnStop: true,
      onProgress,
    });
    await mkdir(cwd);
    const env = await prepare(cluster);
    onProgress('Migrating, and putting the demo in');
    await run(['migrate', 'up'], cwd, env);
    await run(['seed'], cwd, env);
    onProgress('Starting two processes of the service');
    const ports = [await listen(services, cwd, env), await listen(services, cwd, env)];
    const urlOf = (port: number) => `http://127.0.0.1:${port}`;
    return {
      cluster,
      urls: ports.map(({ tenant }) => urlOf(tenant)),
      adminUrls: ports.map(({ admin }) => urlOf(admin)),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function prepare(cluster: Cluster): Promise<Record<string, string>> {
  const [ownerPassword, appPassword] = [
    randomBytes(18).toString('base64url'),
    randomBytes(18).toString('base64url'),
  ];
  await prepareDatabase({ superuserUrl: cluster.primaryUrl, database, ownerPassword, appPassword });
  const app = cluster.urlsFor(database, 'tenantry_app', appPassword);
  return {
    DATABASE_URL: app.primaryUrl,
    DATABASE_REPLICA_URLS: app.replicaUrls.join(','),
    DATABASE_ADMIN_URL: cluster.urlsFor(database, 'tenantry_owner', ownerPassword).primaryUrl,
    JWT_SECRET: randomBytes(36).toString('base64url'),
    OPERATOR_EMAIL: operator.email,
    OPERATOR_PASSWORD: operator.password,
    BCRYPT_COST: '8',
    LOG_LEVEL: 'fatal',
  };
}

function launch(args: readonly string[], cwd: string, env: Record<string, string>): ChildProcess {
  const { PATH = '', HOME = '' } = process.env;
  return spawn(process.execPath, [program, ...args], {
    cwd,
    env: { PATH, HOME, ...env },
    // What it says is shown only when it fails; a session of its own, so that Ctrl-C reaches us alone.
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
}

async function run(args: readonly string[], cwd: string, env: Record<string, string>): Promise<void> {
  const child = launch(args, cwd, env);
  let complaint = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (complaint += text));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`tenantry ${args.join(' ')} failed: ${complaint}`);
}

async function listen(services: ChildProcess[], cwd: string, env: Record<string, string>) {
  const tenant = await findFreePort(new Set());
  const admin = await findFreePort(new Set([tenant]));
  const child = launch(['serve'], cwd, { ...env, PORT: String(tenant), ADMIN_PORT: String(admin) });
  child.stderr?.pipe(process.stderr);
  services.push(child);
  for (;;) {
    if (child.exitCode !== null) throw new Error('The service did not start');
    const ready = await fetch(`http://127.0.0.1:${tenant}/readyz`).catch(() => undefined);
    if (ready?.ok === true) return { tenant, admin };
    await pause(20);
  }
}

async function endOf(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  await gone;
}
