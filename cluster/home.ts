/** Where a cluster's files lie, and which folders are a cluster's at all. */
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type Account, canEnter } from './account.ts';
import { LOCK_FILE } from './lock.ts';
import { type ClusterState, STATE_FILE } from './state.ts';
import { sharedTemporaryFolder } from './temporary.ts';

export const PRIMARY = 'primary';
const REPLICA = /^replica-\d+$/;
const DRAFT = /^(primary|replica-\d+)\.new-[0-9a-f]+(\.password)?$/;
const OWNER_FILE = 'belongs-to';
const DATA_ROOT_PREFIX = 'tenantry-data-';
// An initdb or cp of a start that was just killed may still be writing into the folder that is removed.
const THOROUGHLY = { recursive: true, force: true, maxRetries: 20, retryDelay: 25 };

/** As replicas are called in folder names, logs and messages; counted from 1 there. */
export function replicaName(replica: number): string {
  return `replica-${replica + 1}`;
}

/**
 * Makes the folder when it is missing. @returns its real path.
 * @throws when it holds anything but a cluster.
 */
export async function claimFolder(dir: string): Promise<string> {
  await mkdir(dir, { recursive: true });
  const real = await realpath(dir);
  if (!(await isClusterFolder(real))) {
    throw new Error(`${real} is neither empty nor the folder of a cluster: choose another one.`);
  }
  return real;
}

/** True for an empty folder, too. The state file is written before any data, so data without it is somebody else's. */
export async function isClusterFolder(dir: string): Promise<boolean> {
  const names = await readdir(dir);
  return (
    names.includes(STATE_FILE) ||
    names.every((name) => name.startsWith(LOCK_FILE) || name.startsWith(STATE_FILE))
  );
}

/**
 * Finds the place for a new cluster's data: the cluster's own folder, else, when the account cannot enter that (below
 * /root, say), a new temporary folder.
 * @returns undefined for the cluster's own folder.
 */
export async function chooseDataRoot(dir: string, account: Account | undefined): Promise<string | undefined> {
  await letPass(dir, account);
  if (canEnter(account, dir)) return undefined;
  const dataRoot = await mkdtemp(join(sharedTemporaryFolder(account), DATA_ROOT_PREFIX));
  await chmod(dataRoot, 0o711);
  await writeFile(join(dataRoot, OWNER_FILE), dir);
  return dataRoot;
}

/** @returns the folder of the data directories; undefined when it is gone or was never this cluster's. */
export async function findDataRoot(dir: string, { dataRoot }: ClusterState): Promise<string | undefined> {
  if (dataRoot === undefined) return dir;
  const found = await lstat(dataRoot).catch(() => undefined);
  const owner = await readFile(join(dataRoot, OWNER_FILE), 'utf8').catch(() => undefined);
  const ours = found?.isDirectory() === true && found.uid === process.getuid?.() && owner === dir;
  return ours && basename(dataRoot).startsWith(DATA_ROOT_PREFIX) ? dataRoot : undefined;
}

/** The data directories there are: replicas first, the order in which servers are stopped. */
export async function dataDirsIn(dataRoot: string): Promise<string[]> {
  const names = (await readdir(dataRoot)).filter((name) => name === PRIMARY || REPLICA.test(name));
  return names.toSorted((a, b) => b.localeCompare(a)).map((name) => join(dataRoot, name));
}

/** Removes what killed starts have left half-made and, if asked to, the data directories. */
export async function clear(dataRoot: string, { data }: { data: boolean }): Promise<void> {
  const names = (await readdir(dataRoot)).filter(
    (name) => DRAFT.test(name) || (data && (name === PRIMARY || REPLICA.test(name))),
  );
  await Promise.all(names.map((name) => rm(join(dataRoot, name), THOROUGHLY)));
}

/** A replica's data is its primary's, so the data of one that is no longer wanted is no loss. */
export async function removeSurplus(dataRoot: string, replicas: number): Promise<void> {
  const wanted = new Set([
    PRIMARY,
    ...Array.from({ length: replicas }, (_, replica) => replicaName(replica)),
  ]);
  const surplus = (await dataDirsIn(dataRoot)).filter((dataDir) => !wanted.has(basename(dataDir)));
  await Promise.all(surplus.map((dataDir) => rm(dataDir, THOROUGHLY)));
}

/** Our own folder may be private (mkdtemp, a strict umask): what is secret in it is private by itself. */
export async function letPass(folder: string, account: Account | undefined): Promise<void> {
  if (account === undefined) return;
  const { mode, uid } = await stat(folder);
  if (uid === process.getuid?.()) await chmod(folder, (mode & 0o7777) | 0o711);
}
