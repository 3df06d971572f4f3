import { mkdtemp } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { type Cluster, type Node, startCluster } from '../../cluster/cluster.ts';
import { findFreePort } from '../../cluster/port.ts';
import { type Child, repository, start } from '../support/child.ts';
import { createClone, type TestDatabase, testDatabase } from '../support/clone.ts';
import { makeTemplate } from '../support/provider.ts';
import { until } from '../support/until.ts';
import type { Protection } from './sabotage.ts';
import { ask } from './wire.ts';

/** Where a history happens: servers, one of them the primary, and processes of the application. */
export interface Arena {
  cluster: Cluster;
  /** Of the first primary; `superuser` asks that one. */
  database: TestDatabase;
  processes: AppProcess[];
  /** Resolves when both processes say that all servers are fresh. @throws Error after 20 s */
  green(): Promise<void>;
  stop(): Promise<void>;
}

export interface AppProcess {
  child: Child;
  url: string;
  adminUrl: string;
}

export const operator = { email: 'operator@tenantry.test', password: 'operator of tests' };

/** Short, so that a fault easily outlasts the window. */
export const windowMs = 2000;
const environment = {
  READ_AFTER_WRITE_WINDOW_MS: String(windowMs),
  MAX_REPLICA_LAG_MS: '1000',
  ACCESS_TOKEN_TTL_S: '86400',
  JWT_SECRET: 'a key that is only good for histories, 32 characters or more',
  BCRYPT_COST: '4',
  OPERATOR_EMAIL: operator.email,
  OPERATOR_PASSWORD: operator.password,
  LOG_LEVEL: 'fatal',
};

export const databaseName = 'tenantry_history';
export const serverNodes: readonly Node[] = ['primary', 0, 1];

export interface ArenaOptions {
  /** Default 2. */
  replicas?: number;
  /** Default 2. */
  processes?: number;
  /** A protection that the processes do without. */
  without?: Protection | undefined;
  /** Of the processes. */
  env?: Record<string, string>;
}

export async function openArena(options: ArenaOptions = {}): Promise<Arena> {
  const { replicas = 2, without, env } = options;
  const dir = await mkdtemp(path.join(os.tmpdir(), 'tenantry-history-'));
  const cluster = await startCluster({ dir, replicas, durable: false, removeOnStop: true });
  const processes: AppProcess[] = [];

  async function stop(): Promise<void> {
    for (const { child } of processes) child.kill('SIGTERM');
    try {
      await Promise.all(processes.map(({ child }) => child.ended()));
    } finally {
      await cluster.stop();
    }
  }

  try {
    await makeTemplate(cluster.primaryUrl);
    await createClone(cluster, databaseName);
    const database = testDatabase(cluster, databaseName);
    // One after the other: the first makes the first operator.
    for (let n = 0; n < (options.processes ?? 2); n += 1) {
      processes.push(await startProcess({ ...database.env(), ...env }, without));
    }
    const green = () =>
      until(
        async () => {
          const answers = await Promise.all(processes.map(({ url }) => ask(`${url}/readyz`, {})));
          return answers.every(({ body }) => (body as { status?: string } | undefined)?.status === 'ok');
        },
        'all servers to be fresh in both processes',
        20_000,
      );
    await green();
    return { cluster, database, processes, green, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startProcess(
  env: Record<string, string>,
  without: Protection | undefined,
): Promise<AppProcess> {
  const port = await findFreePort(new Set());
  const adminPort = await findFreePort(new Set([port]));
  const program = without === undefined ? ['src/main.ts'] : ['test/history/app.ts', without];
  const child = start('--import', ['tsx', ...program], {
    cwd: repository,
    env: { ...environment, ...env, PORT: String(port), ADMIN_PORT: String(adminPort) },
  });
  const url = `http://127.0.0.1:${port}`;
  await until(
    async () => {
      if (child.code() !== undefined) throw new Error(`The service ended: ${child.stderr()}`);
      return (await ask(`${url}/livez`, {})).status === 200;
    },
    'the service to listen',
    30_000,
  );
  return { child, url, adminUrl: `http://127.0.0.1:${adminPort}` };
}
