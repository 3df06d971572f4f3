import type { Clock } from '../../clock.ts';
import type { SchemaName, WriteSession } from '../../db/index.ts';
import { unavailable } from '../../errors.ts';
import { runBackfill } from './backfill.ts';
import { buildConcurrently } from './concurrently.ts';
import { recordFailure, type RunOf } from './ledger.ts';
import { climbLadder, lockLadder, patientLadder, type Rung } from './lock-ladder.ts';
import type { Migrator, SchemaWork } from './migrator.ts';
import type { Script } from './script.ts';
import type { Segment } from './segments.ts';

/** One segment of the ladder in one schema, as often as it takes. */
export interface ApplyParts {
  migrator: Migrator;
  clock: Clock;
  /** Half of the time is left to others, more while replicas are behind. */
  rest: (tookMs: number, signal: AbortSignal) => Promise<void>;
  /** Aborted when the run has lost its lease: nothing more is begun, and what is under way is given up. */
  signal: AbortSignal;
  /** Default lockLadder and patientLadder. */
  ladders?: { lock: readonly Rung[]; patient: readonly Rung[] };
  /** Each try waits for its turn here. What is thrown before it begins, a Stopped, ends the schema's part in the run. */
  limit: <T>(attempt: () => Promise<T>) => Promise<T>;
  /** Of a single statement inside of a transaction. */
  statementTimeoutMs: number;
  onRetry?: (schema: SchemaName, error: Error) => void;
}

export type Applied =
  | { outcome: 'applied'; steps: string[] }
  /** It was dropped since the plan was made. */
  | { outcome: 'gone' }
  /** `steps` were applied before it; `note` writes it down; to be called when the run has taken it in. */
  | { outcome: 'failed'; steps: string[]; error: string; note: () => Promise<void> };

/** The run goes no further: it is to end, or is not ours any more. */
export class Stopped extends Error {}

/** @param wave see RunOf */
export async function applySegment(
  parts: ApplyParts,
  schema: SchemaName,
  segment: Segment,
  of: { run: string; wave: number },
): Promise<Applied> {
  const { clock, signal, onRetry } = parts;
  const { lock, patient } = parts.ladders ?? { lock: lockLadder, patient: patientLadder };
  const startedMs = clock.monotonicMs();
  const steps: string[] = [];
  let [current, attempts] = ['', 0];
  try {
    // Each step in a transaction of its own: what it has locked it lets go of before the next one begins.
    for (const script of segment.scripts) {
      [current, attempts] = [script.step, 0];
      const done = await climbLadder({
        ladder: segment.kind === 'concurrent' ? patient : lock,
        signal,
        onRetry: (error) => onRetry?.(schema, error),
        attempt: (rung) => {
          attempts += 1;
          const own = { id: of.run, wave: of.wave, attempts };
          return parts.limit(() => applyOnce(parts, schema, { kind: segment.kind, script }, own, rung));
        },
      });
      if (done === 'gone') return { outcome: 'gone' };
      // A try whose answer was lost may have been carried out.
      if (done === 'applied' || attempts > 1) steps.push(script.step);
    }
    return { outcome: 'applied', steps };
  } catch (error) {
    if (error instanceof Stopped) throw error;
    if (signal.aborted) throw new Stopped((signal.reason as Error).message);
    const words = wordsOf(error);
    const failure = {
      ...{ step: current, error: words },
      durationMs: clock.monotonicMs() - startedMs,
      run: { id: of.run, wave: of.wave, attempts },
    };
    return { outcome: 'failed', steps, error: words, note: () => note(parts, schema, failure) };
  }
}

type Done = 'applied' | 'already' | 'gone';

async function applyOnce(
  parts: ApplyParts,
  schema: SchemaName,
  { kind, script }: { kind: Segment['kind']; script: Script },
  run: RunOf,
  rung: Rung,
): Promise<Done> {
  const { migrator, statementTimeoutMs } = parts;
  const limits = { lockTimeoutMs: rung.timeoutMs, statementTimeoutMs };
  const transaction = (fn: (work: SchemaWork) => Promise<void>): Promise<Done> =>
    migrator.inSchema(
      schema,
      async (work) => {
        const standing = await begin(work, schema, script, run);
        if (standing !== 'pending') return standing;
        await fn(work);
        return 'applied';
      },
      limits,
    );
  if (kind === 'transaction') {
    if (await migrator.applyWhole(schema, script, run, limits)) return 'applied';
    return transaction((work) => work.apply(script, run));
  }
  const standing = await migrator.inSchema(schema, (work) => begin(work, schema, script, run), limits);
  if (standing !== 'pending') return standing;
  if (kind === 'concurrent') await buildConcurrently(migrator, schema, script, rung);
  else await runBackfill(parts, schema, script, rung);
  return transaction((work) => work.record(script, run));
}

/**
 * Whether the step is still to be applied. `gone`: nobody wants the schema any more.
 *
 * @throws Stopped; AppError unavailable; Error for a schema that is missing
 */
async function begin(
  work: SchemaWork,
  schema: SchemaName,
  { step }: Script,
  run: RunOf,
): Promise<'pending' | 'already' | 'gone'> {
  const { there, wanted, leased, applied, knexLocked } = await work.survey(run.id);
  if (!leased) throw new Stopped('Another runner has taken the lease over.');
  if (!wanted) return 'gone';
  if (!there) throw new Error(`The schema ${schema} is missing, though ${applied.at(-1)} was applied to it.`);
  if (knexLocked) await clearKnexLock(await work.session());
  return applied.includes(step) ? 'already' : 'pending';
}

/**
 * Knex's lock outlives the process that took it. The holder of the lease clears it, unless somebody who is not Tenantry
 * works on the database as its owner: that may be knex itself.
 */
async function clearKnexLock(session: WriteSession): Promise<void> {
  const strangers = await session.query(
    `select from pg_stat_activity where usename = current_user and datname = current_database()
       and application_name not like 'tenantry%' and pid <> pg_backend_pid() limit 1`,
  );
  if (strangers.length > 0) throw unavailable('Knex holds its lock on this schema, and may be at work.');
  await session.query('update knex_migrations_lock set is_locked = 0');
}

/** What cannot be written down is not lost: the report of the run has it, too. */
async function note(
  { migrator }: ApplyParts,
  schema: SchemaName,
  failure: Parameters<typeof recordFailure>[2],
): Promise<void> {
  await migrator
    .inSchema(schema, async (work) => recordFailure(await work.session(), schema, failure))
    .catch(() => undefined);
}

/** What went wrong, for people who may see SQL. */
export function wordsOf(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error && cause.message !== message ? `${message} ${cause.message}` : message;
}
