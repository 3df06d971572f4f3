/** The handle on a cluster that is up: its URLs, its faults, its end. */
import type { Assembly } from './assembly.ts';
import { isReplica } from './data-directory.ts';
import { cut, delay, during, hurry, pause, reconnect, resume } from './faults.ts';
import { follow, type Household, rebuild } from './following.ts';
import { HOST } from './port.ts';
import { promote, slotOf, waitUntilCaughtUp, waitUntilStreaming } from './replication.ts';
import type { Server } from './server.ts';

/**
 * One of the servers: the first primary, or a replica, counted from 0 as in `replicaUrls`. It keeps this name and its URL
 * when a promotion changes the roles.
 */
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
  pauseReplay<T>(replica: Node, fn: () => Promise<T>): Promise<T>;
  /**
   * Runs `fn` while the replica has no connection to its primary. It goes on answering reads. Resolves when it streams
   * again, unless `fn` has left one of the two dead.
   */
  cutOff<T>(replica: Node, fn: () => Promise<T>): Promise<T>;
  /** Runs `fn` while the replica replays each commit `delayMs` late. */
  delayApply<T>(replica: Node, delayMs: number, fn: () => Promise<T>): Promise<T>;

  /** SIGKILL of the postmaster and its backends. Resolves when the process is gone and its port is closed. */
  kill(node: Node): Promise<void>;
  /** As an administrator stops a server: `fast` ends its sessions with a word, `immediate` as good as without. */
  halt(node: Node, mode: 'fast' | 'immediate'): Promise<void>;
  /** SIGSTOP of the postmaster: new connections hang, existing ones still work. */
  freeze(node: Node): Promise<void>;
  /** SIGCONT. */
  thaw(node: Node): Promise<void>;
  /** Starts a killed or halted server again, on its port; one that runs is stopped first. A replica streams when this resolves. */
  restart(node: Node): Promise<void>;
  /**
   * Makes a primary of a replica; resolves when it takes writes. The other servers are left as they are. The next start
   * of the cluster makes it a replica of the first primary anew.
   */
  promote(replica: Node): Promise<void>;
  /**
   * Turns a replica to the server that was promoted last. @throws when it has replayed more than that one had when it was
   * promoted: then only `rebuild` helps
   */
  follow(replica: Node): Promise<void>;
  /**
   * Makes a server, the old primary as well, a replica of the one that was promoted last, which goes on serving. Resolves
   * when it streams. A cluster whose first primary was rebuilt cannot be started again: its data is elsewhere.
   */
  rebuild(node: Node): Promise<void>;

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
  household: Household,
  windUp: () => Promise<void>,
): Cluster {
  /** Promoted last. */
  let leader = primary;
  const upstreams = new Map(replicas.map((replica) => [replica, primary]));
  const heldBack = new Set<Node>();
  const cutOff = new Set<Node>();
  const restarts = new Set<Promise<void>>();
  const nodes: Node[] = ['primary', ...replicas.keys()];
  let stopped: Promise<void> | undefined;

  function serverOf(node: Node): Server {
    const server = node === 'primary' ? primary : replicas[node];
    if (server === undefined)
      throw new Error(`There is no replica ${node}: the cluster has ${replicas.length}`);
    return server;
  }

  const follows = (node: Node): boolean =>
    serverOf(node).running && isReplica(serverOf(node).dataDir) && !cutOff.has(node);

  async function streamsAgain(node: Node): Promise<void> {
    const upstream = upstreams.get(serverOf(node));
    if (follows(node) && upstream?.running && !upstream.frozen) {
      await waitUntilStreaming(upstream, slotOf(node));
    }
  }

  async function start(node: Node): Promise<void> {
    const server = serverOf(node);
    await server.stop();
    await server.start(server.port);
    await streamsAgain(node);
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
          await reconnect(server, household.account);
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
        () => hurry(server, household.account),
        fn,
      );
    },

    kill: async (node) => serverOf(node).kill(),
    halt: async (node, mode) => serverOf(node).halt(mode),
    freeze: async (node) => serverOf(node).freeze(),
    thaw: async (node) => serverOf(node).thaw(),
    async restart(node) {
      if (stopped !== undefined) throw new Error('The cluster is stopped');
      const restarted = start(node);
      restarts.add(restarted);
      await restarted.finally(() => restarts.delete(restarted));
    },
    async promote(replica) {
      const server = serverOf(replica);
      await promote(server);
      leader = server;
      upstreams.delete(server);
    },
    async follow(replica) {
      await follow(serverOf(replica), leader, slotOf(replica), household);
      upstreams.set(serverOf(replica), leader);
    },
    async rebuild(node) {
      if (serverOf(node) === leader) throw new Error(`The ${leader.name} is what others are made from`);
      await rebuild(serverOf(node), leader, slotOf(node), household);
      upstreams.set(serverOf(node), leader);
      heldBack.delete(node);
    },

    async caughtUp() {
      const waitFor = nodes
        .filter((node) => upstreams.get(serverOf(node)) === leader && follows(node) && !heldBack.has(node))
        .map(serverOf)
        .filter((server) => !server.frozen);
      await waitUntilCaughtUp(leader, waitFor);
    },
    stop() {
      // A server that is just being restarted would survive.
      stopped ??= Promise.allSettled(restarts).then(windUp);
      return stopped;
    },
  };
}
