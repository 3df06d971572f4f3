import { execFile } from 'node:child_process';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

/** Where and what was measured; without it a figure means nothing. */
export interface Machine {
  cpu: string;
  cores: number;
  memoryGb: number;
  platform: string;
  node: string;
  postgres: string;
  /** Average load of the last minute before the run: above 0, the machine was doing something else, too. */
  loadBefore: number;
}

export interface Commit {
  /** Short hash. */
  id: string;
  /** Files differ from the commit. */
  dirty: boolean;
}

const run = promisify(execFile);
const root = path.resolve(import.meta.dirname, '..');

/** To be called before anything is started. */
export function describeMachine(): Omit<Machine, 'postgres'> {
  return {
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.availableParallelism(),
    memoryGb: Math.round(os.totalmem() / 2 ** 30),
    platform: `${os.platform()} ${os.arch()}`,
    node: process.version,
    loadBefore: Math.round((os.loadavg()[0] ?? 0) * 100) / 100,
  };
}

/** Outside of a checkout: `unknown`. */
export async function describeCommit(): Promise<Commit> {
  try {
    const { stdout: id } = await run('git', ['rev-parse', '--short', 'HEAD'], { cwd: root });
    const paths = ['src', 'migrations', 'package-lock.json'];
    const { stdout: changes } = await run('git', ['status', '--porcelain', '--', ...paths], { cwd: root });
    return { id: id.trim(), dirty: changes.trim() !== '' };
  } catch {
    return { id: 'unknown', dirty: false };
  }
}
