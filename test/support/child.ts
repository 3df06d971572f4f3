import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { compiledIn } from './compiled.ts';
import { until } from './until.ts';

/** Programs run as a user runs them: a process of its own, with an environment that is written out. */
const root = fileURLToPath(new URL('../..', import.meta.url));
/** As in a clone: from source. */
export const program = `${root}bin/tenantry.js`;
/** As in an image: compiled, once for the run, for it starts in half the time. */
export const builtProgram = () => built('src/cli/main.ts');
/** A program of the sources or tests, as the run has compiled it. */
export const built = (source: string) => compiledIn(process.env[programsVariable] ?? '').program(source);
export const programsVariable = 'TENANTRY_TEST_PROGRAMS';
export const knexProgram = `${root}node_modules/.bin/knex`;
export const repository = root;

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface Child {
  readonly pid: number;
  stdout(): string;
  stderr(): string;
  /** Undefined while it runs. */
  code(): number | null | undefined;
  kill(signal: NodeJS.Signals): void;
  /** Resolves when it is gone. @throws Error after 30 s */
  ended(): Promise<Ended>;
}

export interface ChildOptions {
  env?: Record<string, string>;
  /** Where it runs. A folder without `.tenantry`, unless the test wants one. */
  cwd: string;
}

const started = new Set<ChildProcess>();

/** To be called in afterEach: nothing that a failed test has started outlives it. */
export async function killChildren(): Promise<void> {
  const living = [...started].filter((child) => child.exitCode === null && child.signalCode === null);
  started.clear();
  await Promise.all(
    living.map(async (child) => {
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    }),
  );
}

export function start(file: string, args: readonly string[], { env = {}, cwd }: ChildOptions): Child {
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(process.execPath, [file, ...args], {
    cwd,
    env: { PATH, HOME, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  started.add(child);
  let stdout = '';
  let stderr = '';
  let code: number | null | undefined;
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  // Not `exit`: its last words may still be on their way.
  child.once('close', (exitCode) => {
    code = exitCode;
    started.delete(child);
  });
  return {
    pid: child.pid ?? 0,
    stdout: () => stdout,
    stderr: () => stderr,
    code: () => code,
    kill: (signal) => void child.kill(signal),
    async ended() {
      await until(() => code !== undefined, `${args.join(' ')} to end; so far: ${stderr}`, 30_000);
      return { code: code ?? null, stdout, stderr };
    },
  };
}

/** Runs `tenantry` to its end. */
export function run(args: readonly string[], options: ChildOptions): Promise<Ended> {
  return start(builtProgram(), args, options).ended();
}
