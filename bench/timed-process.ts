import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Compiled } from './compiled.ts';

/** A program that has run from its start to its end. */
export interface Timed {
  ms: number;
  /** Processor time of the process, not of those that it started. */
  cpuMs: number;
  exitCode: number;
  stdout: string;
  stderr: string;
}

const run = promisify(execFile);
const outputBytes = 256 * 2 ** 20;

/** @param environment the whole of it: nothing is inherited */
export async function runTimed(
  compiled: Compiled,
  source: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
): Promise<Timed> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'tenantry-bench-time-'));
  const note = path.join(folder, 'cpu');
  try {
    const env = { NODE_ENV: 'production', ...environment, PROCESSOR_TIME: note };
    const flags = ['--import', compiled.program('bench/processor-time.ts')];
    const startedMs = performance.now();
    const ended: { stdout: string; stderr: string; code?: number } = await run(
      process.execPath,
      [...flags, compiled.program(source), ...args],
      {
        env,
        maxBuffer: outputBytes,
      },
    ).catch((error: unknown) => error as { stdout: string; stderr: string; code: number });
    const ms = performance.now() - startedMs;
    const { stdout, stderr, code: exitCode = 0 } = ended;
    return { ms, stdout, stderr, exitCode, cpuMs: Number(await readFile(note, 'utf8')) };
  } finally {
    await rm(folder, { recursive: true });
  }
}
