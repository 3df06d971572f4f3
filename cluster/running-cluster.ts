/** The handle on a cluster that is up: its URLs, its faults, its end. */
import type { Assembly } from './assembly.ts';
import { isReplica, type Workshop } from './data-directory.ts';
import { cut, delay, during, hurry, pause, reconnect, resume } from './faults.ts';
import { HOST } from './port.ts';
import { promote, waitUntilCaughtUp, waitUntilStreaming } from './replication.ts';
import type { Server } from './server.ts';

/** Replicas are counted from 0, as in `replicaUrls`. */
export type Node = 'primary' | number;

export interface Urls {
  primaryUrl: string;
  replicaUrls: string[];
}

export interface Cluster extends Urls {
  /** URLs of a superuser, database `postgres`. They stay the same until `stop()`. */
  primaryUrl: string;
  replicaUrls: string[];
  urlsFor(database: string, user: string, password: string): Urls;

  /** Runs `fn` while the replica receives but does not replay; it has stopped replaying when `fn` begins. */
  pauseReplay<T>(replica: number, fn: () => Promise<T>): Promise<T>;
  /**
   * Runs `fn` while the replica has no connection to its primary. It goes on answering reads. Resolves when it streams
   * again, unless `fn` has left one of the two dead.
   */
  cutOff<T>(replica: number, fn: () => Promise<T>): Promise<T>;
  /** Runs `fn` while the replica replays each commit `delayMs` late. */
  delayApply<T>(replica: number, delayMs: number, fn: () => Promise<T>): Promise<T>;

  /** SIGKILL of the postmaster and its backends. Resolves when the process is gone and its port is closed. */
  kill(node: Node): Promise<void>;
  /** SIGSTOP of the postmaster: new connections hang, existing ones still work. */
  freeze(node: Node): Promise<void>;
  /** SIGCONT. */
  thaw(node: Node): Promise<void>;
  /** Starts a killed server again, on its port; one that runs is stopped first. A replica streams when this resolves. */
  restart(node: Node): Promise<void>;
  /** Makes a primary of a replica; resolves when it takes writes. The next start of the cluster makes it a replica anew. */
  promote(replica: number): Promise<void>;

  /**
   * Resolves when the replicas have replayed all that the primary has written up to now. Left out are those that are
   * killed, frozen, promoted, or held back by `pauseReplay` or `cutOff`.
   */
  caughtUp(): Promise<void>;
  /** Fast shutdown of the replicas, then of the primary. May be called twice. */
  stop(): Promise<void>;
}

/** @param windUp stops all servers and lets go of the folder */
export function createCluster(
  { primary, replicas }: Assembly,
  workshop: Workshop,
  windUp: () => Promise<void>,
): Cluster {
  const heldBack = new Set<number>();
  const cutOff = new Set<number>();
  const restarts = new Set<Promise<void>>();
  let stopped: Promise<void> | undefined;

  function serverOf(node: Node): Server {
    const server = node === 'primary' ? primary : replicas[node];
    if (server === undefined)
      throw new Error(`There is no replica ${node}: the cluster has ${replicas.length}`);
    return server;
  }

  const follows = (replica: number): boolean =>
    serverOf(replica).running && isReplica(serverOf(replica).dataDir) && !cutOff.has(replica);

  async function streamsAgain(replica: number): Promise<void> {
    if (follows(replica) && primary.running && !primary.frozen) await waitUntilStreaming(primary, replica);
  }

  async function start(node: Node): Promise<void> {
    const server = serverOf(node);
    await server.stop();
    await server.start(server.port);
    if (node !== 'primary') await streamsAgain(node);
  }

  function urlsFor(database: string, user: string, password: string): Urls {
    const [name, secret] = [encodeURIComponent(user), encodeURIComponent(password)];
    const url = ({ port }: Server): string =>
      `postgresql://${name}:${secret}@${HOST}:${port}/${encodeURIComponent(database)}`;
    return { primaryUrl: url(primary), replicaUrls: replicas.map(url) };
  }

  return {
    primaryUrl: primary.url(),
    replicaUrls: replicas.map((replica) => replica.url()),
    urlsFor,

    async pauseReplay(replica, fn) {
      const server = serverOf(replica);
      return during(
        async () => {
          heldBack.add(replica);
          await pause(server);
        },
        async () => {
          heldBack.delete(replica);
          await resume(server);
        },
        fn,
      );
    },
    async cutOff(replica, fn) {
      const server = serverOf(replica);
      return during(
        async () => {
          cutOff.add(replica);
          await cut(server);
        },
        async () => {
          await reconnect(server, workshop.account);
          cutOff.delete(replica);
          await streamsAgain(replica);
        },
        fn,
      );
    },
    async delayApply(replica, delayMs, fn) {
      const server = serverOf(replica);
      return during(
        () => delay(server, delayMs),
        () => hurry(server, workshop.account),
        fn,
      );
    },

    kill: async (node) => serverOf(node).kill(),
    freeze: async (node) => serverOf(node).freeze(),
    thaw: async (node) => serverOf(node).thaw(),
    async restart(node) {
      if (stopped !== undefined) throw new Error('The cluster is stopped');
      const restarted = start(node);
      restarts.add(restarted);
      await restarted.finally(() => restarts.delete(restarted));
    },
    promote: async (replica) => promote(serverOf(replica)),

    async caughtUp() {
      const waitFor = replicas.filter(
        (server, replica) => follows(replica) && !server.frozen && !heldBack.has(replica),
      );
      await waitUntilCaughtUp(primary, waitFor);
    },
    stop() {
      // A server that is just being restarted would survive.
      stopped ??= Promise.allSettled(restarts).then(windUp);
      return stopped;
    },
  };
}
