import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { Client } from 'pg';
import { type Cluster, type ClusterOptions, resetCluster, startCluster } from '../../cluster/cluster.ts';
import { serves } from '../../cluster/postmaster.mjs';
import { waitUntil } from '../../cluster/wait.ts';

jest.setTimeout(60_000);

const root = fileURLToPath(new URL('../..', import.meta.url));
const folders: string[] = [];
const started: Cluster[] = [];
const owners: ChildProcess[] = [];

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tenantry-cluster-test-'));
  folders.push(folder);
  return folder;
}

async function start(options: ClusterOptions): Promise<Cluster> {
  const cluster = await startCluster({ durable: false, ...options });
  started.push(cluster);
  return cluster;
}

async function query(url: string | undefined, sql: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows.map((row) => Object.values(row)[0]);
  } finally {
    await client.end();
  }
}

/** The table `seen` holds one row for each name that was put into it. */
const create = (cluster: Cluster): Promise<unknown> =>
  query(cluster.primaryUrl, 'create table if not exists seen (name text)');
const put = (cluster: Cluster, name: string): Promise<unknown> =>
  query(cluster.primaryUrl, `insert into seen values ('${name}')`);
const onReplica = async (cluster: Cluster, name: string, replica = 0): Promise<boolean> =>
  (await query(cluster.replicaUrls[replica], `select name from seen where name = '${name}'`)).length > 0;

async function pidIn(dataDir: string): Promise<number> {
  return Number.parseInt(await readFile(join(dataDir, 'postmaster.pid'), 'utf8'), 10);
}

async function abandon(dir: string, ...args: string[]): Promise<ChildProcess> {
  const program = join(root, 'test', 'cluster', 'abandoned-cluster.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', program, dir, ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  owners.push(child);
  const [said] = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
  expect(String(said)).toBe('up\n');
  return child;
}

async function cleanUp(): Promise<void> {
  for (const owner of owners.splice(0)) owner.kill('SIGKILL');
  await Promise.all(started.splice(0).map((cluster) => cluster.stop()));
  await Promise.all(folders.splice(0).map((folder) => rm(folder, { recursive: true, force: true })));
}

describe('a running cluster', () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await start({ dir: await newFolder(), replicas: 2 });
    await create(cluster);
  });
  afterAll(cleanUp);

  it('shows on every replica what was written on the primary, once they have caught up', async () => {
    await put(cluster, 'first');
    await cluster.caughtUp();
    expect(await onReplica(cluster, 'first', 0)).toBe(true);
    expect(await onReplica(cluster, 'first', 1)).toBe(true);
  });

  it('catches up also with what no commit has flushed', async () => {
    await query(
      cluster.primaryUrl,
      `do $$ begin
      insert into seen values ('rolled back');
      raise exception using errcode = 'ABORT';
    exception when others then null;
    end $$`,
    );
    await cluster.caughtUp();
    expect(await onReplica(cluster, 'rolled back')).toBe(false);
  });

  it('gives URLs of any database and user, with their special characters encoded', async () => {
    await query(cluster.primaryUrl, `create role "a/b" login password 'p@ss:w/rd?'`);
    await cluster.caughtUp();
    const { primaryUrl, replicaUrls } = cluster.urlsFor('postgres', 'a/b', 'p@ss:w/rd?');
    expect(await query(primaryUrl, 'select current_user::text')).toEqual(['a/b']);
    expect(await query(replicaUrls[1], 'select current_user::text')).toEqual(['a/b']);
  });

  it('refuses a wrong password', async () => {
    const { primaryUrl } = cluster.urlsFor('postgres', 'postgres', 'wrong');
    await expect(query(primaryUrl, 'select 1')).rejects.toMatchObject({ code: '28P01' });
  });

  it('hides new rows on a replica while its replay is paused, and only there', async () => {
    await cluster.pauseReplay(0, async () => {
      await put(cluster, 'paused');
      await cluster.caughtUp();
      expect(await onReplica(cluster, 'paused', 0)).toBe(false);
      expect(await onReplica(cluster, 'paused', 1)).toBe(true);
    });
    await cluster.caughtUp();
    expect(await onReplica(cluster, 'paused', 0)).toBe(true);
  });

  it('resumes replay and passes the error on when the block throws', async () => {
    const failure = new Error('of the block');
    const block = cluster.pauseReplay(0, async () => {
      await put(cluster, 'thrown');
      throw failure;
    });
    await expect(block).rejects.toBe(failure);
    await cluster.caughtUp();
    expect(await onReplica(cluster, 'thrown')).toBe(true);
  });

  it('cuts a replica off, which still answers, and heals it', async () => {
    const answer = await cluster.cutOff(1, async () => {
      await put(cluster, 'cut off');
      await cluster.caughtUp();
      expect(await query(cluster.replicaUrls[1], 'select pid from pg_stat_wal_receiver')).toEqual([]);
      expect(await onReplica(cluster, 'cut off', 1)).toBe(false);
      return 'answer';
    });
    expect(answer).toBe('answer');
    await cluster.caughtUp();
    expect(await onReplica(cluster, 'cut off', 1)).toBe(true);
  });

  it('heals a replica that was killed while it was cut off', async () => {
    await cluster.cutOff(1, () => cluster.kill(1));
    await cluster.restart(1);
    await put(cluster, 'healed');
    await cluster.caughtUp();
    expect(await onReplica(cluster, 'healed', 1)).toBe(true);
  });

  it('delays what a replica applies', async () => {
    await cluster.delayApply(0, 60_000, async () => {
      await put(cluster, 'delayed');
      expect(await onReplica(cluster, 'delayed')).toBe(false);
    });
    await cluster.caughtUp();
    expect(await onReplica(cluster, 'delayed')).toBe(true);
  });

  it('freezes a server for new connections, and thaws it', async () => {
    await cluster.freeze(0);
    await cluster.caughtUp();
    const client = new Client({ connectionString: cluster.replicaUrls[0], connectionTimeoutMillis: 200 });
    client.on('error', () => {});
    await expect(client.connect()).rejects.toThrow('timeout');
    await cluster.thaw(0);
    expect(await query(cluster.replicaUrls[0], 'select 1')).toEqual([1]);
  });

  it('kills and restarts a replica', async () => {
    await cluster.kill(0);
    await expect(query(cluster.replicaUrls[0], 'select 1')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await put(cluster, 'while away');
    await cluster.restart(0);
    await cluster.caughtUp();
    expect(await onReplica(cluster, 'while away')).toBe(true);
  });

  it('kills and restarts the primary, also under load, and its replicas follow again', async () => {
    const busy = query(cluster.primaryUrl, 'select count(*) from generate_series(1, 1e12)').catch(String);
    await waitUntil('the query runs', 5_000, async () => {
      const [running] = await query(
        cluster.primaryUrl,
        `select count(*) from pg_stat_activity where query like '%1e12%'`,
      );
      return running === '2'; // it and the one that asks
    });
    await cluster.kill('primary');
    await expect(query(cluster.primaryUrl, 'select 1')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    expect(await busy).toMatch(/Connection terminated unexpectedly|ECONNRESET/);
    await cluster.restart('primary');
    await put(cluster, 'after the crash');
    await cluster.caughtUp();
    expect(await onReplica(cluster, 'after the crash', 1)).toBe(true);
  });

  it('names the replicas there are when asked for another', async () => {
    await expect(cluster.kill(2)).rejects.toThrow('no replica 2: the cluster has 2');
  });

  // Last of this cluster: afterwards its roles are others.
  it('promotes a replica, which takes writes, and has the others follow it', async () => {
    await put(cluster, 'before the promotion');
    await cluster.caughtUp();
    await cluster.kill('primary');
    await cluster.promote(0);
    expect(
      await query(cluster.replicaUrls[0], `insert into seen values ('promoted') returning name`),
    ).toEqual(['promoted']);

    await cluster.follow(1);
    // The old primary goes a way of its own first, which is lost.
    await cluster.restart('primary');
    await query(cluster.primaryUrl, `insert into seen values ('astray')`);
    await cluster.rebuild('primary');
    await query(cluster.replicaUrls[0], `insert into seen values ('followed')`);
    await cluster.caughtUp();
    for (const url of [cluster.primaryUrl, cluster.replicaUrls[1]]) {
      expect(await query(url, 'select pg_is_in_recovery()')).toEqual([true]);
      const names = await query(url, 'select name from seen');
      expect(names).toEqual(expect.arrayContaining(['before the promotion', 'promoted', 'followed']));
      expect(names).not.toContain('astray');
    }
    await expect(cluster.rebuild(0)).rejects.toThrow('what others are made from');
  });
});

describe('a cluster on disk', () => {
  afterEach(cleanUp);

  it('keeps data, passwords and ports from one run to the next', async () => {
    const dir = await newFolder();
    const first = await start({ dir, durable: true });
    await create(first);
    await put(first, 'kept');
    await first.stop();
    const second = await start({ dir, durable: true });
    expect([second.primaryUrl, ...second.replicaUrls]).toEqual([first.primaryUrl, ...first.replicaUrls]);
    expect(await onReplica(second, 'kept')).toBe(true);
  });

  it('moves to other ports when somebody has taken its own', async () => {
    const dir = await newFolder();
    const first = await start({ dir });
    await create(first);
    await first.stop();
    const squatter = createServer().listen(Number(new URL(first.primaryUrl).port), '127.0.0.1');
    await once(squatter, 'listening');
    try {
      const second = await start({ dir });
      expect(second.primaryUrl).not.toBe(first.primaryUrl);
      await put(second, 'moved');
      await second.caughtUp();
      expect(await onReplica(second, 'moved')).toBe(true);
    } finally {
      squatter.close();
    }
  });

  it('gets missing replicas, and loses surplus ones', async () => {
    const dir = await newFolder();
    const none = await start({ dir, replicas: 0 });
    expect(none.replicaUrls).toEqual([]);
    await create(none);
    await put(none, 'before');
    await none.kill('primary');
    await none.stop();
    const two = await start({ dir, replicas: 2 });
    expect(await onReplica(two, 'before', 1)).toBe(true);
    await two.stop();
    const one = await start({ dir, replicas: 1 });
    expect(await query(one.primaryUrl, 'select slot_name::text from pg_replication_slots')).toEqual([
      'replica_1',
    ]);
  });

  it('makes a promoted replica follow again', async () => {
    const dir = await newFolder();
    const first = await start({ dir });
    await first.promote(0);
    await first.stop();
    const second = await start({ dir });
    await create(second);
    await put(second, 'followed');
    await second.caughtUp();
    expect(await onReplica(second, 'followed')).toBe(true);
  });

  it('rebuilds a replica whose slot is gone', async () => {
    const dir = await newFolder();
    const first = await start({ dir });
    await first.kill(0);
    await query(first.primaryUrl, `select pg_drop_replication_slot('replica_1')`);
    await first.stop();
    const progress: string[] = [];
    const second = await start({ dir, onProgress: (message) => progress.push(message) });
    expect(progress.join()).toContain('Rebuilding replica-1');
    expect(await query(second.replicaUrls[0], 'select pg_is_in_recovery()')).toEqual([true]);
  });

  it('makes a half-made cluster afresh', async () => {
    const dir = await newFolder();
    const first = await start({ dir });
    await first.stop();
    const stateFile = join(dir, 'cluster.json');
    const state: object = JSON.parse(await readFile(stateFile, 'utf8'));
    await writeFile(stateFile, JSON.stringify({ ...state, complete: false }));
    await rm(join(dir, 'primary', 'base'), { recursive: true });
    await mkdir(join(dir, 'replica-1.new-0123'));
    const second = await start({ dir });
    expect(second.primaryUrl).not.toBe(first.primaryUrl);
    expect((await readdir(dir)).toSorted()).toEqual(['cluster.json', 'lock', 'logs', 'primary', 'replica-1']);
  });

  it('says what to do when the data is of another major version', async () => {
    const dir = await newFolder();
    const first = await start({ dir });
    await first.stop();
    await writeFile(join(dir, 'primary', 'PG_VERSION'), '12\n');
    await expect(start({ dir })).rejects.toThrow(/PostgreSQL 12.*Reset the cluster/);
  });

  it('starts in no folder that holds anything else, nor removes it', async () => {
    const dir = await newFolder();
    await writeFile(join(dir, 'precious'), 'do not touch');
    await expect(start({ dir })).rejects.toThrow('neither empty nor the folder of a cluster');
    await expect(resetCluster(dir)).rejects.toThrow('not the folder of a cluster');
    expect(await readdir(dir)).toEqual(['precious']);
  });

  it('is gone after a reset', async () => {
    const dir = await newFolder();
    await (await start({ dir })).stop();
    await resetCluster(dir);
    expect(existsSync(dir)).toBe(false);
    await resetCluster(dir);
  });

  it('is gone after stop when it was made to be thrown away', async () => {
    const dir = await newFolder();
    await (await start({ dir, removeOnStop: true })).stop();
    expect(existsSync(dir)).toBe(false);
  });
});

describe('the servers of a cluster', () => {
  afterEach(cleanUp);

  it('are all gone after stop, which may be called twice, also with one frozen and one killed', async () => {
    const dir = await newFolder();
    const cluster = await start({ dir, replicas: 2 });
    const dataDirs = ['primary', 'replica-1', 'replica-2'].map((name) => join(dir, name));
    const pids = await Promise.all(dataDirs.map(pidIn));
    await cluster.kill(1);
    await cluster.freeze('primary');
    await Promise.all([cluster.stop(), cluster.stop()]);
    await cluster.stop();
    expect(pids.map((pid, index) => serves(pid, dataDirs[index] ?? ''))).toEqual([false, false, false]);
    expect(existsSync(join(dir, 'lock'))).toBe(false);
    await expect(cluster.restart('primary')).rejects.toThrow('stopped');
  });

  it('are stopped when the process that started them is killed', async () => {
    const dir = await newFolder();
    const owner = await abandon(dir);
    const dataDirs = ['primary', 'replica-1'].map((name) => join(dir, name));
    const pids = await Promise.all(dataDirs.map(pidIn));
    const running = (): boolean => pids.some((pid, index) => serves(pid, dataDirs[index] ?? ''));
    expect(running()).toBe(true);
    owner.kill('SIGKILL');
    await waitUntil('the servers are gone', 10_000, () => !running());
    // A fast shutdown, not a crash: the pid file is removed.
    expect(existsSync(join(dir, 'primary', 'postmaster.pid'))).toBe(false);
  });

  it('leave nothing behind when their killed owner had made them to be thrown away', async () => {
    const dir = await newFolder();
    const owner = await abandon(dir, 'remove');
    owner.kill('SIGKILL');
    await waitUntil('the folder is gone', 10_000, () => !existsSync(dir));
  });

  it('are refused to a second owner, who is told the pid of the first', async () => {
    const dir = await newFolder();
    const owner = await abandon(dir);
    await expect(start({ dir })).rejects.toThrow(`in use by process ${owner.pid}`);
    await expect(resetCluster(dir)).rejects.toThrow(`in use by process ${owner.pid}`);
    owner.kill('SIGKILL');
    await once(owner, 'exit');
    // Whoever is first, watchdog or new owner, stops the old servers.
    const next = await start({ dir });
    expect(await query(next.replicaUrls[0], 'select 1')).toEqual([1]);
  });

  it('are refused to a second start in the same process', async () => {
    const dir = await newFolder();
    await start({ dir });
    await expect(start({ dir })).rejects.toThrow(`in use by process ${process.pid}`);
  });

  it('are not mistaken for another program that has got their pid', async () => {
    const dir = await newFolder();
    await (await start({ dir })).stop();
    const bystander = spawn('sleep', ['60']);
    await writeFile(join(dir, 'primary', 'postmaster.pid'), `${bystander.pid}\n${dir}/primary\n`);
    const cluster = await start({ dir });
    expect(await query(cluster.primaryUrl, 'select 1')).toEqual([1]);
    expect(bystander.exitCode ?? bystander.signalCode).toBeNull();
    bystander.kill();
  });
});
