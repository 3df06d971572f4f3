import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { findFreePort, isClosed } from '../../cluster/port.ts';
import { until } from './until.ts';

/** A Redis of one test file, without a disk: what it knew is gone when it is killed. */
export interface RedisServer {
  readonly url: string;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again after kill(), on its port; nothing happens while it runs. */
  restart(): Promise<void>;
  /** Runs `fn` while it is stopped: connections stay open, and nothing is answered. */
  whilePaused<T>(fn: () => Promise<T>): Promise<T>;
  /** Runs one command, outside all of our code. */
  command(...words: string[]): Promise<string>;
  stop(): Promise<void>;
}

export async function startRedis(program: string): Promise<RedisServer> {
  const port = await findFreePort(new Set());
  let child: ChildProcess | undefined;

  async function start(): Promise<void> {
    if (child !== undefined) return;
    const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
    child = spawn(program, args, { stdio: 'ignore', cwd: '/' });
    await until(async () => !(await isClosed(port)), 'Redis to listen');
  }

  async function kill(): Promise<void> {
    if (child === undefined) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
    child = undefined;
  }

  await start();
  return {
    url: `redis://127.0.0.1:${port}`,
    kill,
    restart: start,
    async whilePaused(fn) {
      child?.kill('SIGSTOP');
      try {
        return await fn();
      } finally {
        child?.kill('SIGCONT');
      }
    },
    command: (...words) =>
      new Promise((resolve, reject) => {
        const socket = connect(port, '127.0.0.1', () => socket.write(`${words.join(' ')}\r\n`));
        socket.once('error', reject);
        socket.once('data', (data) => {
          socket.destroy();
          resolve(data.toString());
        });
      }),
    stop: kill,
  };
}
