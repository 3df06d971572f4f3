import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** A contender that listens, alone in its process. Its log goes to /dev/null, everybody's does. */
export interface ServerProcess {
  url: string;
  /** Processor time it has used so far, milliseconds; undefined where /proc does not tell. */
  cpuMs(): Promise<number | undefined>;
  /** The most memory it has had resident, bytes; undefined where /proc does not tell. */
  peakBytes(): Promise<number | undefined>;
  /** Asks it to end, and waits. May be called twice. */
  stop(): Promise<void>;
}

export interface ServerProgram {
  name: string;
  /** Of node. */
  flags: readonly string[];
  /** The compiled file. */
  program: string;
  arguments: (port: number) => readonly string[];
  /** The whole environment: nothing is inherited. */
  environment: (port: number) => Record<string, string>;
}

const startTimeoutMs = 20_000;
const stopTimeoutMs = 20_000;

/** @throws with what it wrote to stderr when it does not come up */
export async function startServer(options: ServerProgram): Promise<ServerProcess> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const child = spawn(process.execPath, [...options.flags, options.program, ...options.arguments(port)], {
    env: { NODE_ENV: 'production', ...options.environment(port) },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  const exited = once(child, 'exit');
  let complaints = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaints = (complaints + text).slice(-4000);
  });

  async function stop(): Promise<void> {
    child.kill('SIGTERM');
    const deadline = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs);
    await exited;
    clearTimeout(deadline);
  }

  const deadlineMs = performance.now() + startTimeoutMs;
  while (!(await answers(url))) {
    const ended = child.exitCode !== null || child.signalCode !== null;
    if (ended || performance.now() > deadlineMs) {
      await stop();
      throw new Error(`${options.name} does not come up:\n${complaints}`);
    }
    await sleep(50);
  }
  return { url, cpuMs: () => cpuMsOf(child.pid), peakBytes: () => peakBytesOf(child.pid), stop };
}

/** Opponents know no such route; a 404 shows that they listen. */
async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/readyz`)).status < 500;
  } catch {
    return false;
  }
}

const ticksPerSecond = 100; // USER_HZ, the same on all platforms of Linux that Node runs on

async function cpuMsOf(pid: number | undefined): Promise<number | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    // proc_pid_stat(5): the name, field 2, may hold spaces; utime and stime are fields 14 and 15.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return ((Number(fields[11]) + Number(fields[12])) * 1000) / ticksPerSecond;
  } catch {
    return undefined;
  }
}

/** Nobody listens there at the moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // a string only for sockets with a path
  server.close();
  await once(server, 'close');
  return port;
}

async function peakBytesOf(pid: number | undefined): Promise<number | undefined> {
  try {
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    const kib = /^VmHWM:\s+(\d+) kB/m.exec(status)?.[1];
    return kib === undefined ? undefined : Number(kib) * 1024;
  } catch {
    return undefined;
  }
}
