import { v7 as uuidv7 } from 'uuid';
import type { Clock } from '../../clock.ts';
import { build } from '../../version.ts';
import type { ControlDatabase, LentPool, SchemaName } from '../../db/index.ts';
import { AppError } from '../../errors.ts';
import { retractContract } from './announcement.ts';
import { holderHere } from './brief-run.ts';
import { applySegment, type ApplyParts, wordsOf } from './apply.ts';
import { runWaves } from './fleet-run.ts';
import { type DownReport, takeBack } from './down.ts';
import { createGate, interrupted, type Stop } from './gate.ts';
import type { Health } from './health.ts';
import { type Journal, openJournal, type RunEvent } from './journal.ts';
import type { LadderName } from './ladder.ts';
import { type Lease, takeLease } from './lease.ts';
import { appliedIn, readChecksums, readFacts, readFleet } from './ledger.ts';
import { climbLadder, lockLadder, type Rung } from './lock-ladder.ts';
import type { Migrator } from './migrator.ts';
import { type Outline, outlineOf } from './outline.ts';
import { planFleet, refuseEdited, type SchemaPlan, stands } from './plan.ts';
import { countsOf, type RunReport, reportOf, type SchemaResult } from './report.ts';
import { createTally, type OnProgress, resultOf, type Tally } from './tally.ts';
import { beginRun, insertRun, type RunChoices, type RunStatus, setStatus } from './runs.ts';
import type { Script } from './script.ts';
import type { SchemaFacts } from './waves.ts';

/** Moves the whole fleet: control, then shared, then every tenant's own schema, in waves. docs/migrations.md */
export interface Runner {
  /** @throws AppError migration_refused when a step was edited after it had been applied */
  plan(): Promise<SchemaPlan[]>;
  /** What up() would refuse at once. @throws AppError migration_refused, invalid_input */
  check(choices: RunChoices): Promise<void>;
  /** What up() would do with these choices. @throws AppError migration_refused, as plan() */
  outline(choices?: Pick<RunChoices, 'canary' | 'tenants'>): Promise<Outline>;
  /**
   * Applies what is pending. A tenant that fails does not stop its wave; control or shared failing stops everything,
   * because everything else stands on them. A second run takes up where this one ended.
   *
   * @throws AppError run_under_way, migration_refused; invalid_input for tenants or canaries that are nobody
   */
  up(options?: UpOptions): Promise<RunReport>;
  /** Takes the newest step of the tenant ladder back. @throws AppError run_under_way */
  down(options?: { tenants?: readonly string[] }): Promise<DownReport>;
}

export interface UpOptions extends RunChoices {
  /** Of the run that was asked for, by insertRun(). By default a new one, when there is something to do. */
  run?: string;
  /** Who wants it, for others to see. Default `cli`. */
  requestedBy?: string;
  /** Told after every schema. */
  onProgress?: OnProgress;
  onEvent?: (event: RunEvent) => void;
  /** When it aborts, what has begun is finished and the rest is skipped. */
  signal?: AbortSignal;
  /** An aborted run is queued again instead of being over: somebody takes it up. Default false. */
  resumable?: boolean;
}

export interface RunnerOptions {
  database: ControlDatabase;
  migrator: Migrator;
  /** For one run: connections of its own, under a name of its own. */
  openMigrator: (options: { poolMax: number; applicationName: string }) => Migrator;
  connect: (applicationName: string) => LentPool;
  clock: Clock;
  health: Health;
  rest: ApplyParts['rest'];
  /** Tells those who serve these schemas that they must know this step; resolves when all of them have heard it. */
  announce: (schemas: readonly SchemaName[], step: string) => Promise<void>;
  /** Judges what is pending, before anything is done. @throws AppError migration_refused */
  lint: (pending: Readonly<Record<LadderName, readonly Script[]>>) => Promise<void>;
  /** Makes the tables of the job queue, or brings them up to date; it has migrations of its own. */
  installQueue: () => Promise<void>;
  /** Instead of those of lock-ladder.ts. For tests, and to show what the ladder is good for. */
  ladders?: { lock: readonly Rung[]; patient: readonly Rung[] };
}

const defaultParallel = 4;
/** Connections that are left to others, whatever `parallel` says. */
const spare = 5;
const statementTimeoutMs = 60_000;

export function createRunner(options: RunnerOptions): Runner {
  const { database, migrator, openMigrator, clock, installQueue, lint, ladders } = options;

  const scripts = async () => ({
    control: await migrator.scripts('control'),
    tenant: await migrator.scripts('tenant'),
  });

  async function plan(): Promise<SchemaPlan[]> {
    // What the steps execute is found out while the database is reached.
    const [fleet, steps, known] = await Promise.all([database.read(readFleet), migrator.steps(), scripts()]);
    const plans = planFleet(fleet, steps);
    if (stands(plans)) refuseEdited(await database.read(readChecksums), known);
    return plans;
  }

  async function up(choices: UpOptions = {}): Promise<RunReport> {
    const startedMs = clock.monotonicMs();
    const look = async () => {
      const plans = chosen(await plan(), choices);
      return { plans, tally: createTally(plans, choices.onProgress) };
    };
    let { plans, tally } = await look();
    const pending = await pendingScripts(plans);
    // What is applied to nothing holds nobody up.
    if (plans.some(({ version }) => version !== undefined)) await lint(pending);
    const report = (ending: Parameters<typeof reportOf>[2]) =>
      reportOf(tally.results, clock.monotonicMs() - startedMs, ending);
    if (choices.signal?.aborted) return report({ run: undefined, ...tally.skipAll(interrupted) });
    if (pending.control.length + pending.tenant.length === 0) {
      await installQueue();
      tally.upToDate();
      if (choices.run !== undefined) await closeEmpty(choices.run);
      return report({ run: choices.run, reason: undefined });
    }

    // Before there is a lease at all, the schema control is guarded by its own claim alone.
    const stood = stands(plans);
    if (!stood) {
      const [control] = plans;
      if (control === undefined) throw new Error('A fleet has at least control and shared');
      const { outcome } = await migrateWhole(control, tally);
      if (outcome === 'failed') return report({ run: undefined, ...tally.skipAll('control failed') });
    }
    const run = choices.run ?? uuidv7();
    const lease = await takeLease(options, run, holderHere());
    try {
      // Who held the lease until now may have done all of it, which is nothing that this run has applied.
      if (stood) ({ plans, tally } = await look());
      if (choices.run === undefined) {
        await database.write((session) => insertRun(session, { id: run, ...asked(choices) }));
      }
      return report(await underLease(lease, plans, tally, choices));
    } finally {
      await lease.release();
    }
  }

  async function underLease(
    lease: Lease,
    plans: readonly SchemaPlan[],
    tally: Tally,
    choices: UpOptions,
  ): Promise<Parameters<typeof reportOf>[2]> {
    const { run } = lease;
    if (!(await database.write((session) => beginRun(session, run)))) {
      return { run, ...tally.skipAll('the run had ended before'), stopped: 'cancelled' };
    }
    const parallel = Math.min(choices.parallel ?? defaultParallel, await connectionsLeft());
    const journal = await openJournal(options, run, choices.onEvent);
    const own = openMigrator({ poolMax: parallel + 1, applicationName: lease.applicationName });
    const gate = createGate({ ...options, lease, journal, signal: choices.signal });
    const apply: ApplyParts = {
      ...{ migrator: own, clock, signal: lease.lost, statementTimeoutMs },
      // Rows may be rewritten for hours: what is asked of the run counts between any two batches.
      async rest(tookMs, signal) {
        await options.rest(tookMs, signal);
        await gate.pass();
      },
      limit: (attempt) => attempt(),
      ...(ladders === undefined ? {} : { ladders }),
      onRetry: (schema, error) => journal.tell({ type: 'retry', schema, error: error.message }),
    };
    try {
      const schemas = plans.filter(({ pending }) => pending.length > 0).length;
      journal.tell({ type: 'started', run, build, schemas, parallel });
      const { tenant } = await scripts();
      const stop = await runWaves(
        {
          ...{ database, clock, gate, journal, tally, parallel, choices, plan },
          scripts: tenant,
          announce: options.announce,
          // Whoever has taken the lease over may be applying it.
          retract: async (schemas) => {
            if (!lease.lost.aborted) await retractAll(database, schemas, tenant);
          },
          whole: (item) => migrateWhole(item, tally),
          apply: (schema, segment, wave, limit) =>
            applySegment({ ...apply, limit }, schema, segment, { run, wave }),
        },
        plans,
      );
      await finish(journal, lease, tally, stop, choices.resumable ?? false);
      return { run, reason: stop?.reason, stopped: stop?.stopped };
    } catch (error) {
      // Else it would look as if it were running until the next one begins.
      const status = choices.resumable === true ? 'queued' : 'failed';
      if (!lease.lost.aborted) await journal.status(status, wordsOf(error)).catch(() => undefined);
      throw error;
    } finally {
      await own.stop();
      await journal.close();
    }
  }

  async function finish(
    journal: Journal,
    lease: Lease,
    { results }: Tally,
    stop: Stop | undefined,
    resumable: boolean,
  ): Promise<void> {
    const status = endOf(stop, countsOf(results).failed, resumable);
    const reason = stop?.reason ?? null;
    journal.tell({ type: 'finished', status, reason, counts: countsOf(results) });
    // Whoever has taken the lease over has said what became of this run.
    if (!lease.lost.aborted) await journal.status(status, reason);
  }

  /** A run that was asked for, and finds that another one has done everything. */
  async function closeEmpty(run: string): Promise<void> {
    await database.write(async (session) => {
      if (await beginRun(session, run)) await setStatus(session, run, 'succeeded', null);
    });
  }

  async function migrateWhole(item: SchemaPlan, tally: Tally): Promise<SchemaResult> {
    const startedMs = clock.monotonicMs();
    const done = (outcome: SchemaResult['outcome'], applied: string[], error?: string) =>
      tally.add(resultOf(item, outcome, applied, clock.monotonicMs() - startedMs, error));
    try {
      const applied = await climbLadder({
        ladder: ladders?.lock ?? lockLadder,
        signal: new AbortController().signal,
        attempt: ({ timeoutMs }) =>
          item.pending.length === 0 ? Promise.resolve([]) : climb(item, timeoutMs),
      });
      if (item.schema === 'control') await installQueue();
      return done(applied.length === 0 ? 'up-to-date' : 'applied', applied);
    } catch (error) {
      return done('failed', [], wordsOf(error));
    }
  }

  function climb({ schema }: SchemaPlan, lockTimeoutMs: number): Promise<string[]> {
    return migrator.inSchema(
      schema,
      async (work) => {
        await work.createSchema({ ifMissing: true });
        return work.climb();
      },
      { lockTimeoutMs },
    );
  }

  async function pendingScripts(plans: readonly SchemaPlan[]): Promise<Record<LadderName, Script[]>> {
    const known = await scripts();
    const of = (ladder: LadderName) => {
      const wanted = new Set(
        plans.filter((plan) => plan.ladder === ladder).flatMap(({ pending }) => pending),
      );
      return known[ladder].filter(({ step }) => wanted.has(step));
    };
    return { control: of('control'), tenant: of('tenant') };
  }

  async function connectionsLeft(): Promise<number> {
    const [row] = await database.read((session) =>
      session.query<{ left: number }>(
        `select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
           - (select sum(numbackends)::int from pg_stat_database) as left`,
      ),
    );
    return Math.max(1, (row?.left ?? 0) - spare);
  }

  return {
    plan,
    up,
    async check(choices) {
      chosen(await plan(), choices);
    },
    async outline(choices = {}) {
      const plans = chosen(await plan(), choices);
      const facts = stands(plans) ? await database.read(readFacts) : new Map<string, SchemaFacts>();
      return outlineOf(plans, await scripts(), facts, choices.canary);
    },
    down: ({ tenants } = {}) => takeBack(options, tenants),
  };
}

async function retractAll(
  database: ControlDatabase,
  schemas: readonly SchemaName[],
  scripts: readonly Script[],
): Promise<void> {
  const contracts = new Set(scripts.filter(({ contract }) => contract).map(({ step }) => step));
  await database.write(async (session) => {
    for (const schema of schemas) {
      const applied = await appliedIn(session, schema);
      await retractContract(session, schema, applied.findLast((step) => contracts.has(step)) ?? null);
    }
  });
}

function endOf(stop: Stop | undefined, failed: number, resumable: boolean): RunStatus {
  if (stop?.stopped === 'interrupted') return resumable ? 'queued' : 'cancelled';
  return stop?.stopped ?? (failed > 0 ? 'failed' : 'succeeded');
}

/** Control and shared, and of the tenants' schemas those that were asked for. @throws AppError invalid_input for a name that is nobody's */
function chosen(
  plans: SchemaPlan[],
  { tenants, canary }: Pick<RunChoices, 'tenants' | 'canary'>,
): SchemaPlan[] {
  const schemas = new Set<string>(plans.map(({ schema }) => schema));
  const named = [...(tenants ?? []), ...(typeof canary === 'object' ? canary : [])];
  const strangers = named.filter((slug) => !schemas.has(`tenant_${slug}`));
  if (strangers.length > 0) {
    throw new AppError(
      'invalid_input',
      `No tenant has a schema of its own by this name: ${strangers.join(', ')}.`,
    );
  }
  if (tenants === undefined) return plans;
  const wanted = new Set(['control', 'shared', ...tenants.map((slug) => `tenant_${slug}`)]);
  return plans.filter(({ schema }) => wanted.has(schema));
}

function asked({ parallel, canary, maxFailures, tenants, requestedBy = 'cli' }: UpOptions) {
  return { options: { parallel, canary, maxFailures, tenants }, requestedBy };
}
