/** One PostgreSQL server of the cluster, as a process: started, asked, stopped, and hurt. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Ask, withConnection } from './connection.ts';
import { isReplica, type Workshop } from './data-directory.ts';
import { releaseDataDir } from './leftover.ts';
import { HOST, isClosed } from './port.ts';
import { endServers, killWhole, signal } from './postmaster.mjs';
import { waitUntil } from './wait.ts';

const START_MS = 60_000; // a crash recovery may take its time
const SIGNAL_MS = 10_000;
const LOG_LIMIT_BYTES = 10 * 1024 * 1024;

export interface Server {
  readonly name: string;
  readonly dataDir: string;
  readonly port: number;
  readonly running: boolean;
  readonly frozen: boolean;
  /** Resolves when it answers queries. @throws StartError */
  start(port: number): Promise<void>;
  /** Fast shutdown; nothing when it does not run. */
  stop(): Promise<void>;
  /** SIGKILL; resolves when the process is gone and its port is closed. */
  kill(): Promise<void>;
  /** As `pg_ctl stop` in that mode; resolves when the process is gone. */
  halt(mode: 'fast' | 'immediate'): Promise<void>;
  freeze(): void;
  thaw(): void;
  url(): string;
  /** Lends a superuser's connection, a fresh one. */
  withConnection<T>(fn: (ask: Ask) => Promise<T>): Promise<T>;
}

/** Why a server did not start, with the end of its log in the message. */
export class StartError extends Error {
  readonly log: string;

  constructor(name: string, log: string) {
    super(`The ${name} did not start. Its log ends with:\n${log.trim().split('\n').slice(-8).join('\n')}`);
    this.log = log;
  }

  get portTaken(): boolean {
    return this.log.includes('could not bind');
  }

  /** Backends of a killed server have not all noticed its death yet. */
  get predecessorLingers(): boolean {
    return this.log.includes('pre-existing shared memory block');
  }
}

export interface ServerOptions {
  name: string;
  dataDir: string;
  logFile: string;
  password: string;
}

export function createServer(
  { name, dataDir, logFile, password }: ServerOptions,
  workshop: Workshop,
): Server {
  let current: ChildProcess | undefined;
  let port = 0;
  let frozen = false;

  async function start(onPort: number): Promise<void> {
    port = onPort;
    const deadline = Date.now() + START_MS;
    for (;;) {
      try {
        await releaseDataDir(dataDir);
        return await launch();
      } catch (error) {
        if (!(error instanceof StartError) || !error.predecessorLingers || Date.now() > deadline) throw error;
      }
    }
  }

  async function launch(): Promise<void> {
    await rotate(logFile);
    const log = openSync(logFile, 'a', 0o600);
    const logStart = fstatSync(log).size;
    const oldPidFile = await readPidFile(dataDir);
    const child = spawn(workshop.binaries.postgres, ['-D', dataDir], {
      ...workshop.account,
      cwd: dataDir,
      env: { LC_ALL: 'C' },
      // Its own session: the terminal's Ctrl-C must not stop the servers before the program has drained.
      detached: true,
      // A file, never a pipe: a pipe that nobody reads blocks the server once it is full.
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    const { pid } = child;
    let failure: Error | undefined;
    child.once('error', (error) => {
      failure = error;
    });
    if (pid === undefined) {
      await waitUntil(`the ${name} could be spawned`, SIGNAL_MS, () => failure);
      throw failure ?? new Error(`The ${name} could not be spawned`);
    }
    workshop.watch.add({ pid, dataDir });
    child.unref();
    child.once('exit', () => {
      workshop.watch.forget(pid);
      if (current === child) current = undefined;
    });
    current = child;
    frozen = false;
    await waitUntil(
      `the ${name} is ready`,
      START_MS,
      () => hasEnded(child) || isReady(dataDir, pid, oldPidFile),
    );
    if (hasEnded(child)) throw new StartError(name, (await readFile(logFile)).subarray(logStart).toString());
  }

  async function stop(): Promise<void> {
    const child = current;
    if (child?.pid === undefined) return;
    await endServers([{ pid: child.pid, dataDir }]);
    await waitUntil(`the ${name} has stopped`, SIGNAL_MS, () => hasEnded(child));
  }

  async function kill(): Promise<void> {
    const child = current;
    if (child?.pid === undefined) return;
    killWhole(child.pid);
    await waitUntil(`the ${name} is gone`, SIGNAL_MS, () => hasEnded(child));
    await waitUntil(`port ${port} is closed`, SIGNAL_MS, () => isClosed(port));
  }

  async function halt(mode: 'fast' | 'immediate'): Promise<void> {
    const child = current;
    if (child?.pid === undefined) return;
    signal(child.pid, mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
    await waitUntil(`the ${name} has stopped`, SIGNAL_MS, () => hasEnded(child));
  }

  function send(signalName: 'SIGSTOP' | 'SIGCONT'): void {
    if (current?.pid === undefined) throw new Error(`The ${name} is not running`);
    signal(current.pid, signalName);
    frozen = signalName === 'SIGSTOP';
  }

  function url(): string {
    return `postgresql://postgres:${encodeURIComponent(password)}@${HOST}:${port}/postgres`;
  }

  return {
    name,
    dataDir,
    get port() {
      return port;
    },
    get running() {
      return current !== undefined;
    },
    get frozen() {
      return current !== undefined && frozen;
    },
    start,
    stop,
    kill,
    halt,
    freeze: () => send('SIGSTOP'),
    thaw: () => send('SIGCONT'),
    url,
    withConnection: (fn) => withConnection(url(), fn),
  };
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/**
 * Line 8 of postmaster.pid is what pg_ctl looks at, too: "ready" on a primary, "standby" on a replica that answers
 * queries. Cheaper than trying to connect, and leaves no FATAL lines in the log. The predecessor's file says "ready" too,
 * and in a container that was restarted even the pid may be the same.
 */
async function isReady(dataDir: string, pid: number, oldPidFile: string): Promise<boolean> {
  const pidFile = await readPidFile(dataDir);
  if (pidFile === oldPidFile) return false;
  const lines = pidFile.split('\n');
  const status = lines[7]?.trim();
  return Number(lines[0]) === pid && (status === 'ready' || (status === 'standby' && isReplica(dataDir)));
}

function readPidFile(dataDir: string): Promise<string> {
  return readFile(join(dataDir, 'postmaster.pid'), 'utf8').catch(() => '');
}

async function rotate(logFile: string): Promise<void> {
  const size = (await stat(logFile).catch(() => undefined))?.size ?? 0;
  if (size > LOG_LIMIT_BYTES) await rename(logFile, `${logFile}.old`);
}
