/** Away with a cluster and all its data. */
import { existsSync } from 'node:fs';
import { realpath, rm } from 'node:fs/promises';
import { findDataRoot, isClusterFolder } from './home.ts';
import { takeLock } from './lock.ts';
import { releaseAll, removeData } from './opening.ts';
import { readState } from './state.ts';

/**
 * Stops what an earlier run has left running in `dir` and removes the folder with all its data. A missing folder is
 * fine.
 * @throws when the folder holds anything but a cluster, or a live process is using it (its pid is in the message).
 */
export async function resetCluster(dir: string): Promise<void> {
  if (!existsSync(dir)) return;
  const real = await realpath(dir);
  if (!(await isClusterFolder(real)))
    throw new Error(`${real} is not the folder of a cluster, so it is not removed.`);
  const lock = await takeLock(real);
  try {
    const state = await readState(real);
    const dataRoot = state && (await findDataRoot(real, state));
    if (dataRoot !== undefined) await releaseAll(dataRoot);
    await removeData(real, dataRoot);
    await rm(real, { recursive: true, force: true });
  } finally {
    await lock.release();
  }
}
