/** What an earlier run has left: its server, still running, or only that server's pid file. */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf } from './errno.ts';
import { endServers, serves } from './postmaster.mjs';

/**
 * Makes sure that no server runs on the directory: ends one that an earlier, killed run has left. If the pid in
 * postmaster.pid now belongs to another program, the file is removed, since the new server would take that program for
 * its predecessor. If there is no such process, the file stays: PostgreSQL finds orphaned backends by it.
 */
export async function releaseDataDir(dataDir: string): Promise<void> {
  const file = join(dataDir, 'postmaster.pid');
  const pid = Number.parseInt(await readFile(file, 'utf8').catch(() => ''), 10);
  if (!Number.isInteger(pid) || pid <= 0) return;
  if (serves(pid, dataDir)) await endServers([{ pid, dataDir }]);
  else if (exists(pid)) await rm(file, { force: true });
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}
