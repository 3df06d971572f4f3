import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { serverAccount } from '../../cluster/account.ts';
import { findFreePort, isClosed } from '../../cluster/port.ts';
import { until } from './until.ts';

/** PgBouncers in transaction mode, one before each server, as an operator would install them. */
export interface PgBouncers {
  /** The URLs, each through its PgBouncer. */
  urls: string[];
  stop(): Promise<void>;
}

export interface PgBouncerOptions {
  /** Connections to each server. */
  poolSize: number;
  /** Lines of the section [pgbouncer]. */
  more?: readonly string[];
}

/** @param urls of a role and a database, one for each server */
export async function startPgBouncers(
  program: string,
  urls: readonly string[],
  options: PgBouncerOptions,
): Promise<PgBouncers> {
  const started = await Promise.all(urls.map((url) => startOne(program, new URL(url), options)));
  return {
    urls: started.map(({ url }) => url),
    async stop() {
      await Promise.all(started.map(({ stop }) => stop()));
    },
  };
}

async function startOne(program: string, server: URL, { poolSize, more = [] }: PgBouncerOptions) {
  const port = await findFreePort(new Set());
  const dir = await mkdtemp(path.join(os.tmpdir(), 'tenantry-pgbouncer-'));
  const config = path.join(dir, 'pgbouncer.ini');
  const users = path.join(dir, 'users.txt');
  await writeFile(users, `"${server.username}" "${server.password}"\n`);
  await writeFile(
    config,
    [
      '[databases]',
      `* = host=${server.hostname} port=${server.port}`,
      '[pgbouncer]',
      'listen_addr = 127.0.0.1',
      `listen_port = ${port}`,
      'unix_socket_dir =',
      'auth_type = scram-sha-256',
      `auth_file = ${users}`,
      'pool_mode = transaction',
      `default_pool_size = ${poolSize}`,
      'max_client_conn = 200',
      ...more,
    ].join('\n'),
  );
  // It refuses to run as root.
  const account = serverAccount();
  if (account !== undefined) {
    for (const file of [dir, config, users]) await chown(file, account.uid, account.gid);
  }
  await chmod(dir, 0o700);
  let words = '';
  const child = spawn(program, [config], { ...account, stdio: ['ignore', 'ignore', 'pipe'], cwd: '/' });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (words += text));
  await until(
    async () => child.exitCode === null && !(await isClosed(port)),
    `pgbouncer to listen: ${words}`,
  );
  const url = new URL(server.href);
  url.port = String(port);
  return {
    url: url.href,
    async stop() {
      const gone = once(child, 'exit');
      if (child.kill('SIGKILL')) await gone;
      await rm(dir, { recursive: true, force: true });
    },
  };
}
