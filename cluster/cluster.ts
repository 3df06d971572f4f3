/**
 * A local PostgreSQL cluster for development and tests: one primary and its streaming replicas, made from the programs
 * that npm installs. Listens on the loopback address only. Never for production.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Assembly, assemble, bringUp } from './assembly.ts';
import { initialise, type Workshop } from './data-directory.ts';
import { claimFolder, PRIMARY, removeSurplus } from './home.ts';
import { takeLock } from './lock.ts';
import { openFolder } from './opening.ts';
import { type Cluster, createCluster } from './running-cluster.ts';
import { writeState } from './state.ts';
import { startWatch } from './watch.ts';

export { resetCluster } from './reset.ts';
export type { Cluster, Node, Urls } from './running-cluster.ts';

export interface ClusterOptions {
  /** Holds data directories, logs and state; made when missing. A cluster that is already in it is started again. */
  dir: string;
  /** Default 1. An existing cluster gets missing replicas, and loses surplus ones. */
  replicas?: number;
  /** Default true. False: no fsync and no full page writes, for tests; the data may not outlive a crash of the machine. */
  durable?: boolean;
  /** Default false. True: `dir` is removed when the cluster is stopped, also when this process is killed. */
  removeOnStop?: boolean;
  /** Told in a few words what is being done. */
  onProgress?: (message: string) => void;
}

/**
 * Makes the cluster in `dir`, or starts it again with the same data, passwords and (if still free) ports. Resolves when
 * all replicas stream; about 1 s for a new cluster, 0.1 s for an old one. If this process ends without `stop()`, however it ends, a watchdog
 * process stops the servers.
 * @throws when the folder holds something else, is in use by another process (named in the message), holds data of
 * another major version, or PostgreSQL cannot run here; the message says what to do.
 */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const progress = options.onProgress ?? (() => {});
  const replicas = options.replicas ?? 1;
  const dir = await claimFolder(options.dir);
  const lock = await takeLock(dir);
  const watch = startWatch();
  let folders: string[] = []; // none until it is clear that they are ours to remove
  let assembly: Assembly | undefined;

  async function windUp(): Promise<void> {
    try {
      if (assembly !== undefined) await stopAll(assembly);
      if (options.removeOnStop === true) {
        await Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true })));
      }
    } finally {
      watch.end();
      await lock.release();
    }
  }

  try {
    const { state, dataRoot, account, binaries } = await openFolder(dir, progress);
    folders = [...new Set([dataRoot, dir])];
    if (options.removeOnStop === true) {
      watch.removeAfterwards({ folders, lockFile: lock.file, lockText: lock.text });
    }
    const workshop: Workshop = { account, binaries, watch };
    const logDir = join(dir, 'logs');
    await mkdir(logDir, { recursive: true, mode: 0o700 });
    const isNew = !state.complete;
    if (isNew) {
      progress('Making the database files');
      await initialise(join(dataRoot, PRIMARY), state.superuserPassword, workshop);
    }
    await removeSurplus(dataRoot, replicas);
    const durable = options.durable ?? true;
    const plan = { dataRoot, logDir, state, replicas, durable, workshop, progress };
    assembly = assemble(plan);
    progress(`Starting PostgreSQL: a primary and ${replicas} ${replicas === 1 ? 'replica' : 'replicas'}`);
    await bringUp(assembly, plan, isNew);
    await writeState(dir, { ...state, complete: true });
    const household = { account, replicatorPassword: state.replicatorPassword, durable, replicas };
    return createCluster(assembly, household, windUp);
  } catch (error) {
    await windUp().catch(() => {});
    throw error;
  }
}

async function stopAll({ primary, replicas }: Assembly): Promise<void> {
  await Promise.all(replicas.map((replica) => replica.stop()));
  await primary.stop();
}
