import { setMaxListeners } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { type Arena, openArena, serverNodes } from './arena.ts';
import { createChecker, type Violation } from './checker.ts';
import { chooseFault } from './faults.ts';
import type { Operation } from './operation.ts';
import { createRandom } from './random.ts';
import { createRoles, type Roles, superuserOf, synchronous } from './roles.ts';
import type { Protection } from './sabotage.ts';
import { type Recorder, runSession } from './session.ts';
import { populate } from './tenants.ts';

export interface HistoryOptions {
  seed: number;
  /** How long faults are injected; what was begun is ended, so a run takes some seconds more. */
  lastsMs: number;
  without?: Protection | undefined;
  /** End with the first violation. */
  stopAtFirst?: boolean;
  onFault?: (name: string, atMs: number) => void;
  onViolation?: (violation: Violation, atMs: number) => void;
  /** Called now and then. */
  onProgress?: (tally: Tally) => void;
}

/** What happened, in numbers. */
export interface Tally {
  elapsedMs: number;
  reads: number;
  writes: number;
  /** Writes whose outcome the client was not told. */
  unknownWrites: number;
  failedReads: number;
  /** Answers of 4xx other than 404, which no client of a history should get. */
  refused: number;
  faults: number;
  /** Reads answered, by `node; reason`, the numbers of replicas left out. */
  served: Map<string, number>;
  violations: Violation[];
}

/** Runs sessions and faults side by side, and holds what was seen against what was promised. */
export async function runHistory(options: HistoryOptions): Promise<Tally> {
  const arena = await openArena(options);
  try {
    return await runIn(arena, options);
  } finally {
    await arena.stop();
  }
}

async function runIn(arena: Arena, options: HistoryOptions): Promise<Tally> {
  const random = createRandom(options.seed);
  const roles = createRoles();
  for (const node of serverNodes) await synchronous(arena, node);
  const members = await populate(arena, { writers: 5, readers: 3 });
  await arena.cluster.caughtUp();

  const over = new AbortController();
  setMaxListeners(0, over.signal); // every session rests on it
  const startedMs = performance.now();
  const elapsedMs = () => performance.now() - startedMs;
  const { recorder, tally, report } = createRecord(elapsedMs, (violation) => {
    options.onViolation?.(violation, elapsedMs());
    if (options.stopAtFirst === true) over.abort();
  });
  const urls = arena.processes.map(({ url }) => url);
  const sessions = Promise.all(
    members.map((member, n) =>
      runSession({
        name: `session-${n}`,
        member,
        urls,
        // Every third of those who write hops.
        home: n % 3 === 2 && member.own !== undefined ? undefined : n % 2,
        random: random.fork(`session-${n}`),
        record: recorder,
        over: over.signal,
      }),
    ),
  );
  const ticking = setInterval(() => options.onProgress?.(tally()), 1000);
  try {
    const fates = random.fork('faults');
    while (elapsedMs() < options.lastsMs && !over.signal.aborted) {
      await pause(fates.between(100, 1000));
      const fault = chooseFault(fates);
      options.onFault?.(fault.name, elapsedMs());
      await fault.run({ arena, roles, random: fates });
      report.faults += 1;
    }
    await arena.green();
    await pause(500);
  } finally {
    clearInterval(ticking);
    over.abort();
    await sessions;
  }
  await arena.cluster.caughtUp();
  report.finish(await registersOf(arena, roles));
  return tally();
}

function createRecord(elapsedMs: () => number, onViolation: (violation: Violation) => void) {
  const checker = createChecker();
  const violations: Violation[] = [];
  const counts = { reads: 0, writes: 0, unknownWrites: 0, failedReads: 0, refused: 0 };
  const served = new Map<string, number>();

  function note(found: readonly Violation[]): void {
    violations.push(...found);
    found.forEach(onViolation);
  }

  function count({ kind, outcome, servedBy }: Operation): void {
    counts[kind === 'read' ? 'reads' : 'writes'] += 1;
    if (outcome === 'refused') counts.refused += 1;
    if (outcome === 'unknown') counts[kind === 'read' ? 'failedReads' : 'unknownWrites'] += 1;
    if (outcome !== 'ok' || kind !== 'read') return;
    const by = servedBy.replace(/-\d+/, '').replace(/; lag=\d+/, '');
    served.set(by, (served.get(by) ?? 0) + 1);
  }

  const recorder: Recorder = {
    begin: (write) => checker.begin(write),
    end(operation) {
      count(operation);
      note(checker.end(operation));
    },
  };
  const report = {
    faults: 0,
    finish: (registers: ReadonlyMap<string, string>) => note(checker.finish(registers)),
  };
  const tally = (): Tally => ({
    elapsedMs: elapsedMs(),
    ...counts,
    faults: report.faults,
    served,
    violations,
  });
  return { recorder, tally, report };
}

/** What the primary holds, read past the application. */
async function registersOf(arena: Arena, { primary }: Roles): Promise<Map<string, string>> {
  const rows = await superuserOf<{ slug: string; sku: string; description: string }>(
    arena,
    primary,
    `select t.slug, p.sku, p.description
       from (select * from shared.products union all select * from tenant_history_schema.products) p
       join control.tenants t on t.id = p.tenant_id`,
  );
  return new Map(rows.map(({ slug, sku, description }) => [`${slug}/${sku}`, description]));
}
