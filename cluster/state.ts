/** What a cluster's folder remembers between runs. */
import { randomBytes } from 'node:crypto';
import { chown, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf } from './errno.ts';

export const STATE_FILE = 'cluster.json';
const FORMAT = 1;

export interface ClusterState {
  format: typeof FORMAT;
  /** False from the first moment until the cluster has once been up: what a killed start leaves is made afresh. */
  complete: boolean;
  /** Where the data directories are, when the cluster's own folder cannot be entered by the servers' account. */
  dataRoot?: string;
  superuserPassword: string;
  replicatorPassword: string;
  primaryPort?: number;
  replicaPorts: number[];
}

export function newState(dataRoot: string | undefined): ClusterState {
  return {
    format: FORMAT,
    complete: false,
    ...(dataRoot === undefined ? {} : { dataRoot }),
    superuserPassword: randomBytes(24).toString('base64url'),
    replicatorPassword: randomBytes(24).toString('base64url'),
    replicaPorts: [],
  };
}

/** Undefined when the folder has no state, so is not a cluster's. */
export async function readState(dir: string): Promise<ClusterState | undefined> {
  const file = join(dir, STATE_FILE);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ENOENT') return undefined;
    if (code === 'EACCES') {
      throw new Error(
        `The cluster in ${dir} belongs to another user: run as that user, or have it removed.`,
        {
          cause: error,
        },
      );
    }
    throw error;
  }
  const state = parse(text);
  if (state?.format !== FORMAT) {
    throw new Error(`${file} was not written by this version. Remove ${dir} to begin anew.`);
  }
  return state;
}

/** Whole or not at all: written aside and renamed. Readable by its owner only, since it holds passwords. */
export async function writeState(dir: string, state: ClusterState): Promise<void> {
  const file = join(dir, STATE_FILE);
  await writeFile(`${file}.new`, `${JSON.stringify(state, undefined, 2)}\n`, { mode: 0o600 });
  if (process.getuid?.() === 0) {
    // Root working in a user's project (sudo, once) must not lock that user out.
    const { uid, gid } = await stat(dir);
    await chown(`${file}.new`, uid, gid);
  }
  await rename(`${file}.new`, file);
}

function parse(text: string): ClusterState | undefined {
  try {
    const state: ClusterState = JSON.parse(text);
    return state;
  } catch {
    return undefined;
  }
}
