import { afterAll, beforeAll } from '@jest/globals';
import { mkdtemp } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { type Cluster, startCluster } from '../../cluster/cluster.ts';
import { createClone, type TestDatabase, testDatabase } from './clone.ts';
import { stopUsers } from './database.ts';
import { makeTemplate } from './provider.ts';

/** A cluster of one test file, which may pause, cut off and kill its servers, with a migrated database on it. */
export interface OwnCluster {
  /** As of useDatabase(). */
  database: TestDatabase;
  /** The servers; replicas are counted from 0. */
  readonly cluster: Cluster;
}

const name = 'tenantry_own';

/** To be called at the top of a test file: starts the cluster before its tests and removes it after them. */
export function useCluster({ replicas }: { replicas: number }): OwnCluster {
  let cluster: Cluster | undefined;
  let database: TestDatabase | undefined;

  beforeAll(async () => {
    const dir = await mkdtemp(path.join(os.tmpdir(), 'tenantry-own-'));
    cluster = await startCluster({ dir, replicas, durable: false, removeOnStop: true });
    await makeTemplate(cluster.primaryUrl);
    await createClone(cluster, name);
    database = testDatabase(cluster, name);
  });
  afterAll(async () => {
    await stopUsers(own.database);
    await cluster?.stop();
  });

  const started = <T>(part: T | undefined): T => {
    if (part === undefined) throw new Error('The cluster is started in beforeAll');
    return part;
  };
  const own: OwnCluster = {
    get cluster() {
      return started(cluster);
    },
    database: {
      env: () => started(database).env(),
      superuser: (text, values) => started(database).superuser(text, values),
      app: (text, values, node) => started(database).app(text, values, node),
      superuserUrl: () => started(database).superuserUrl(),
      // Unlike the database's own, leaves out replicas that are held back or dead.
      caughtUp: () => started(cluster).caughtUp(),
    },
  };
  return own;
}
