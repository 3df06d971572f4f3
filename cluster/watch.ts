/** Our end of the watchdog's pipe: what it must stop if this process dies. */
import { spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Postmaster } from './postmaster.mjs';

export interface Leavings {
  folders: string[];
  /** The folders are removed only while this file still holds this text: nobody else has taken them over. */
  lockFile: string;
  lockText: string;
}

export interface Watch {
  add(server: Postmaster): void;
  forget(pid: number): void;
  /** Folders the watchdog removes once the servers are stopped. */
  removeAfterwards(leavings: Leavings): void;
  /** Everything was stopped in good order: the watchdog ends and does nothing. */
  end(): void;
}

/** Starts the watchdog. It neither keeps this process's event loop alive nor hears the terminal's Ctrl-C. */
export function startWatch(): Watch {
  const watchdog = spawn(process.execPath, [fileURLToPath(new URL('./watchdog.mjs', import.meta.url))], {
    cwd: '/',
    // Empty on purpose: NODE_OPTIONS of this process (loaders, inspectors) must not reach the watchdog.
    env: {},
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const pipe = watchdog.stdin;
  // A watchdog that was ended from outside is a lost safety net, not a reason to fail.
  watchdog.on('error', () => {});
  pipe.on('error', () => {});
  watchdog.unref();
  if (pipe instanceof Socket) pipe.unref();

  const send = (message: object): void => {
    if (pipe.writable) pipe.write(`${JSON.stringify(message)}\n`);
  };
  return {
    add: (server) => send({ watch: server }),
    forget: (pid) => send({ forget: pid }),
    removeAfterwards: (leavings) => send({ remove: leavings }),
    end: () => {
      send({ done: true });
      pipe.end();
    },
  };
}
