/** One process at a time works with a cluster's folder. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf } from './errno.ts';

export const LOCK_FILE = 'lock';

export interface Lock {
  file: string;
  text: string;
  release(): Promise<void>;
}

interface Holder {
  pid: number;
  /** When the holder was started, as its system tells it: a recycled pid has another birth. */
  born: string;
}

/**
 * Takes the lock of a folder. A lock whose holder is dead is taken over.
 * @throws naming the pid of the live holder.
 */
export async function takeLock(dir: string): Promise<Lock> {
  const file = join(dir, LOCK_FILE);
  const text = JSON.stringify({ pid: process.pid, born: birthOf(process.pid) ?? '' } satisfies Holder);
  for (;;) {
    try {
      await writeFile(file, text, { flag: 'wx', mode: 0o644 });
      return { file, text, release: () => removeIfStill(file, text) };
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
    }
    const found = await readSettled(file);
    const holder = liveHolder(found);
    if (holder !== undefined) {
      throw new Error(`The cluster in ${dir} is in use by process ${holder}. Stop that process first.`);
    }
    if (found !== undefined) await removeIfStill(file, found);
  }
}

/** A lock file is empty for the instant between its creation and its first write. */
async function readSettled(file: string): Promise<string | undefined> {
  for (let look = 0; ; look++) {
    const text = await readFile(file, 'utf8').catch(() => undefined);
    if (text !== '' || look === 20) return text;
    await sleep(10);
  }
}

function liveHolder(text: string | undefined): number | undefined {
  try {
    const { pid, born }: Holder = JSON.parse(text ?? '');
    return birthOf(pid) === born ? pid : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Removes the lock if its text is the expected one. Moved aside before it is read: between reading and removing,
 * somebody else could have taken it.
 */
async function removeIfStill(file: string, expected: string): Promise<void> {
  const aside = `${file}.${process.pid}`;
  try {
    await rename(file, aside);
    if ((await readFile(aside, 'utf8')) !== expected) await link(aside, file);
  } catch {
    // Gone already, or taken by another in the same instant: the next look at the lock tells.
  }
  await rm(aside, { force: true });
}

/** Undefined when there is no such process (a zombie is none). */
function birthOf(pid: number): string | undefined {
  try {
    if (process.platform === 'linux') {
      // proc(5): after the command name in parentheses, state is field 3 and starttime field 22.
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
      return fields[0] === 'Z' ? undefined : fields[19];
    }
    // A fixed language and zone: two processes must read the same birth.
    const env = { LC_ALL: 'C', TZ: 'UTC' };
    const born = execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8', env }).trim();
    return born === '' ? undefined : born;
  } catch {
    return undefined;
  }
}
