import type { Clock } from '../clock.ts';
import { assess, createPrimaryHistory, type Lag, type PrimaryHistory, type ReplicaFacts } from './nodes.ts';
import type { NodePool } from './pool.ts';
import { formatLsn, parseLsn } from './position.ts';
import type { NodeView } from './router.ts';

/**
 * Asks every server how it is and what its role is, on connections of its own, so that a busy pool is not taken for a
 * dead server. Connections are replaced now and then: a server that is frozen goes on answering its old ones.
 */
export interface MonitorOptions {
  /** Pools of one connection with short time-outs, in the order of the configured URLs. */
  probes: readonly NodePool[];
  /** Units of work under way and waiting on a server. */
  loadOf: (id: number) => number;
  maxLagMs: number;
  clock: Clock;
  /** Told when a server changes its state or role. */
  onChange?: (view: NodeView) => void;
}

export interface NodeDetail extends NodeView {
  readonly lagBytes: number | undefined;
  /** As PostgreSQL writes it. */
  readonly position: string | undefined;
}

export interface Monitor {
  /** Resolves when every server has been asked once, whether it answered or not. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** May be as old as `viewsLastMs`, and are judged as of the end of that. */
  views(): readonly NodeView[];
  /** Of the server that takes writes; undefined while none is known. */
  primaryTimeline(): number | undefined;
  details(): NodeDetail[];
  /** The system that the servers belong to, once one has answered. */
  systemId(): string | undefined;
  /**
   * The time up to which the states tell the truth: now, or, while the primary is lost, when it was last asked. What a
   * fresh replica has is held against that, so windows must not end by any other time.
   */
  presentMs(): number;
  /** A replica has shown in an answer that it has replayed this: newer than what the last probe was told. */
  reached(id: number, lsn: bigint): void;
  /** A unit of work has just lost this server: it counts as down until a probe says otherwise. */
  reportLost(id: number): void;
  /** Asks all servers again at once. Those who ask meanwhile share the answer. */
  refresh(): Promise<void>;
}

interface Server {
  readonly id: number;
  readonly probe: NodePool;
  down: boolean;
  facts: Facts | undefined;
  shown: string;
}

interface Facts extends ReplicaFacts {
  standby: boolean;
  /** Of a server that is not in recovery. */
  timeline: number | undefined;
}

interface Answer {
  standby: boolean;
  lsn: string;
  timeline: number | null;
  receiving: boolean;
  system: string;
}

// Without special rights a role sees that a WAL receiver runs (its pid), which is what is asked here.
const question = `
  select pg_is_in_recovery() as standby,
    case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end::text as lsn,
    case when pg_is_in_recovery() then null
      else ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int end as timeline,
    exists (select from pg_stat_wal_receiver where pid is not null) as receiving,
    (select system_identifier::text from pg_control_system()) as system`;

/** Within it thousands of reads may be routed, and no server changes much. */
const viewsLastMs = 1;

const atTheSource: Lag = { state: 'fresh', lagMs: undefined, provenMs: 0, lagBytes: undefined };
const down: Lag = { state: 'down', lagMs: undefined, provenMs: undefined, lagBytes: undefined };

export function createMonitor(options: MonitorOptions): Monitor {
  const { clock, maxLagMs } = options;
  const servers = options.probes.map(
    (probe, id): Server => ({ id, probe, down: true, facts: undefined, shown: '' }),
  );
  // Several samples must fit into the tolerated lag, or an idle replica would look stale between two of them.
  const intervalMs = Math.min(500, Math.max(25, maxLagMs / 4));
  const timers = new Set<NodeJS.Timeout>();
  const running = new Set<Promise<void>>();
  /** The server that takes writes, on the newest timeline that has been seen. */
  let primary: { id: number; timeline: number; history: PrimaryHistory } | undefined;
  let system: string | undefined;
  let round: Promise<void> | undefined;
  let made: { views: (NodeView & { load: number })[]; untilMs: number } | undefined;
  let stopped = false;

  async function probe(server: Server): Promise<void> {
    const atMs = clock.monotonicMs();
    try {
      const answer = await ask(server.probe);
      system ??= answer.system;
      if (answer.system !== system) throw new Error('This server belongs to another system');
      server.facts = {
        standby: answer.standby,
        replayLsn: parseLsn(answer.lsn),
        timeline: answer.timeline ?? undefined,
        receiving: answer.receiving,
      };
      server.down = false;
      if (!answer.standby) noticePrimary(server, atMs);
    } catch {
      server.down = true; // the state is the report: it is shown, logged on change, and asked again
    }
    announce(server);
  }

  function noticePrimary({ id, facts }: Server, atMs: number): void {
    const timeline = facts?.timeline ?? 0;
    // One that was left behind by a promotion still takes itself for the primary. It gets no writes.
    if (primary !== undefined && timeline < primary.timeline) return;
    if (primary?.id !== id || primary.timeline !== timeline) {
      primary = { id, timeline, history: createPrimaryHistory() };
      servers.filter((server) => server.id !== id).forEach(announce);
    }
    primary.history.add({ lsn: facts?.replayLsn ?? 0n, atMs });
  }

  function announce(server: Server): void {
    made = undefined;
    const view = viewOf(server);
    const shown = `${view.name} ${view.state}`;
    if (server.shown !== '' && server.shown !== shown) options.onChange?.(view);
    server.shown = shown;
  }

  function keepProbing(server: Server): void {
    if (stopped) return;
    const wait = intervalMs * (0.8 + 0.4 * Math.random());
    const timer = setTimeout(() => {
      timers.delete(timer);
      const asked = probe(server).then(() => {
        running.delete(asked);
        keepProbing(server);
      });
      running.add(asked);
    }, wait);
    timer.unref();
    timers.add(timer);
  }

  function lagOf(server: Server): Lag {
    if (server.down || server.facts === undefined) return down;
    if (server.id === primary?.id) return atTheSource;
    // Not in recovery and not the primary: cut loose, on a timeline of its own.
    if (primary === undefined || !server.facts.standby) return unproven;
    return assess(server.facts, primary.history, primaryLost(), maxLagMs, presentMs() + viewsLastMs);
  }

  const primaryLost = (): boolean => primary !== undefined && servers[primary.id]?.down === true;

  function presentMs(): number {
    return (primaryLost() ? primary?.history.latest()?.atMs : undefined) ?? clock.monotonicMs();
  }

  /** Every read wants them: they are made once for all of the same moment. */
  function views(): readonly NodeView[] {
    const nowMs = clock.monotonicMs();
    if (made === undefined || nowMs >= made.untilMs) {
      made = { views: servers.map(viewOf), untilMs: nowMs + viewsLastMs };
    }
    for (const view of made.views) view.load = options.loadOf(view.id);
    return made.views;
  }

  function viewOf(server: Server): NodeView & { load: number } {
    const { id, facts } = server;
    const isPrimary = id === primary?.id;
    const { state, lagMs, provenMs } = lagOf(server);
    return {
      id,
      name: isPrimary ? 'primary' : `replica-${id}`,
      role: isPrimary ? 'primary' : 'replica',
      state,
      lagMs,
      provenMs,
      lsn: facts?.replayLsn,
      timeline: isPrimary ? primary?.timeline : undefined,
      load: options.loadOf(id),
    };
  }

  return {
    async start() {
      // One after the other, the first of which most likely is the primary: a replica asked before it would seem behind.
      for (const server of servers) await probe(server);
      servers.forEach(keepProbing);
    },
    async stop() {
      stopped = true;
      timers.forEach(clearTimeout);
      await Promise.all(running);
      await Promise.all(options.probes.map((pool) => pool.end()));
    },
    views,
    primaryTimeline: () => primary?.timeline,
    details: () =>
      servers.map((server) => {
        const { lagBytes } = lagOf(server);
        const lsn = server.facts?.replayLsn;
        return {
          ...viewOf(server),
          lagBytes: lagBytes === undefined ? undefined : Number(lagBytes),
          position: lsn === undefined ? undefined : formatLsn(lsn),
        };
      }),
    systemId: () => system,
    presentMs,
    reached(id, lsn) {
      const facts = servers[id]?.facts;
      if (facts?.standby && facts.replayLsn < lsn) facts.replayLsn = lsn;
    },
    reportLost(id) {
      const server = servers[id];
      if (server === undefined || server.down) return;
      server.down = true;
      announce(server);
    },
    async refresh() {
      round ??= Promise.all(servers.map(probe)).then(() => {
        round = undefined;
      });
      await round;
    },
  };
}

const unproven: Lag = { state: 'unknown', lagMs: undefined, provenMs: undefined, lagBytes: undefined };

async function ask(pool: NodePool): Promise<Answer> {
  const [row] = await pool.ask<Answer>(question);
  if (row === undefined) throw new Error(`${pool.name} gave no answer`);
  return row;
}
