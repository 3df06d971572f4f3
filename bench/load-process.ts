import { fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { LoadJob, LoadOutcome } from './load.ts';

/** The load generator, in a process of its own: it shares the machine with the server, not the server's event loop. */
export interface LoadProcess {
  /** One job at a time. @throws when the process dies */
  run(job: LoadJob): Promise<LoadOutcome>;
  stop(): Promise<void>;
}

export function startLoadProcess(): LoadProcess {
  const child = fork(path.join(import.meta.dirname, 'load.ts'), { execArgv: ['--import', 'tsx'] });
  const exited = once(child, 'exit');
  return {
    async run(job) {
      const answer = once(child, 'message') as Promise<[LoadOutcome]>;
      child.send(job);
      const [outcome] = await Promise.race([
        answer,
        exited.then(() => Promise.reject(new Error('The load process has died'))),
      ]);
      return outcome;
    },
    async stop() {
      child.kill();
      await exited;
    },
  };
}
