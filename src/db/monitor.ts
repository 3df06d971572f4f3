import type { Clock } from '../clock.ts';
import { parseLsn } from './lsn.ts';
import { assess, createPrimaryHistory, type Lag, type ReplicaFacts } from './nodes.ts';
import type { NodePool } from './pool.ts';
import type { NodeView } from './router.ts';

/** Asks every node how it is, on connections of its own, so that a busy pool is not taken for a dead server. */
export interface MonitorOptions {
  /** Pools of one connection with short time-outs; the first is the primary's. */
  probes: readonly [primary: NodePool, ...replicas: NodePool[]];
  /** Units of work under way and waiting on a node. */
  loadOf: (name: string) => number;
  maxLagMs: number;
  clock: Clock;
  /** Told when a node changes its state. */
  onChange?: (view: NodeView) => void;
}

export interface NodeDetail extends NodeView {
  /** Position in the write-ahead log: inserted on the primary, replayed on a replica. */
  readonly lsn: string | undefined;
  readonly lagBytes: number | undefined;
  readonly timeline: number | undefined;
}

export interface Monitor {
  /** Resolves when every node has been asked once, whether it answered or not. */
  start(): Promise<void>;
  stop(): Promise<void>;
  views(): NodeView[];
  details(): NodeDetail[];
  /** A unit of work has just lost this node: it counts as down until a probe says otherwise. */
  reportLost(name: string): void;
  /** Asks the primary again at once. Those who ask meanwhile share the answer. */
  probePrimary(): Promise<void>;
}

interface Known {
  probe: NodePool;
  down: boolean;
  lsn: string | undefined;
  timeline: number | undefined;
  facts: ReplicaFacts | undefined;
  shownState: string;
}

const primaryQuery = `select pg_current_wal_insert_lsn()::text as lsn,
  ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int as timeline`;
// Without special rights a role sees that a WAL receiver runs (its pid), which is what is asked here.
const replicaQuery = `select pg_last_wal_replay_lsn()::text as lsn,
  exists (select from pg_stat_wal_receiver where pid is not null) as receiving`;

export function createMonitor(options: MonitorOptions): Monitor {
  const { clock, maxLagMs } = options;
  const [primaryProbe, ...replicaProbes] = options.probes;
  const history = createPrimaryHistory();
  const primary = known(primaryProbe);
  const replicas = replicaProbes.map(known);
  const nodes = [primary, ...replicas];
  // Several samples must fit into the tolerated lag, or an idle replica would look stale between two of them.
  const intervalMs = Math.min(500, Math.max(25, maxLagMs / 4));
  const timers = new Set<NodeJS.Timeout>();
  const running = new Set<Promise<void>>();
  let primaryRound: Promise<void> | undefined;
  let stopped = false;

  function known(probe: NodePool): Known {
    return { probe, down: true, lsn: undefined, timeline: undefined, facts: undefined, shownState: '' };
  }

  async function askPrimary(): Promise<void> {
    const atMs = clock.monotonicMs();
    const row = await ask<{ lsn: string; timeline: number }>(primaryProbe, primaryQuery);
    primary.lsn = row.lsn;
    primary.timeline = row.timeline;
    history.add({ lsn: parseLsn(row.lsn), atMs });
  }

  async function askReplica(replica: Known): Promise<void> {
    const row = await ask<{ lsn: string; receiving: boolean }>(replica.probe, replicaQuery);
    replica.lsn = row.lsn;
    replica.facts = { replayLsn: parseLsn(row.lsn), receiving: row.receiving };
  }

  async function probe(node: Known): Promise<void> {
    try {
      await (node === primary ? askPrimary() : askReplica(node));
      node.down = false;
    } catch {
      node.down = true; // the state is the report: it is shown, logged on change, and asked again
    }
    announce(node);
  }

  function announce(node: Known): void {
    const view = viewOf(node);
    if (node.shownState !== '' && node.shownState !== view.state) options.onChange?.(view);
    node.shownState = view.state;
  }

  function keepProbing(node: Known): void {
    if (stopped) return;
    const timer = setTimeout(
      () => {
        timers.delete(timer);
        const round = probe(node).then(() => {
          running.delete(round);
          keepProbing(node);
        });
        running.add(round);
      },
      intervalMs * (0.8 + 0.4 * Math.random()),
    );
    timer.unref();
    timers.add(timer);
  }

  function lagOf(node: Known): Lag {
    if (node.down) return { state: 'down', lagMs: undefined, lagBytes: undefined };
    if (node === primary) return { state: 'fresh', lagMs: undefined, lagBytes: undefined };
    const nowMs = primary.down
      ? (history.latest()?.atMs ?? clock.monotonicMs()) // nothing has been committed since it was lost
      : clock.monotonicMs();
    return assess(node.facts, history, primary.down, maxLagMs, nowMs);
  }

  function viewOf(node: Known): NodeView {
    const { state, lagMs } = lagOf(node);
    const { name } = node.probe;
    return { name, role: node === primary ? 'primary' : 'replica', state, lagMs, load: options.loadOf(name) };
  }

  return {
    async start() {
      // The primary first: a replica asked before it would seem to be behind.
      await probe(primary);
      await Promise.all(replicas.map(probe));
      nodes.forEach(keepProbing);
    },
    async stop() {
      stopped = true;
      timers.forEach(clearTimeout);
      await Promise.all(running);
      await Promise.all(options.probes.map((pool) => pool.end()));
    },
    views: () => nodes.map(viewOf),
    details: () =>
      nodes.map((node) => {
        const { lagBytes } = lagOf(node);
        return {
          ...viewOf(node),
          lsn: node.lsn,
          lagBytes: lagBytes === undefined ? undefined : Number(lagBytes),
          timeline: node.timeline,
        };
      }),
    reportLost(name) {
      const node = nodes.find((candidate) => candidate.probe.name === name);
      if (node === undefined || node.down) return;
      node.down = true;
      announce(node);
    },
    async probePrimary() {
      primaryRound ??= probe(primary).finally(() => {
        primaryRound = undefined;
      });
      await primaryRound;
    },
  };
}

async function ask<Row extends object>(pool: NodePool, text: string): Promise<Row> {
  const { rows } = await pool.withLease(({ client }) => client.query<Row>(text));
  const row = rows[0];
  if (row === undefined) throw new Error(`${pool.name} gave no answer`);
  return row;
}
