import type { Clock } from '../../clock.ts';
import type { SchemaName, WriteSession } from '../../db/index.ts';
import { unavailable } from '../../errors.ts';
import { runBackfill } from './backfill.ts';
import { buildConcurrently } from './concurrently.ts';
import { recordFailure } from './ledger.ts';
import { climbLadder, lockLadder, patientLadder, type Rung } from './lock-ladder.ts';
import type { Migrator, SchemaWork } from './migrator.ts';
import type { RunOf } from './replay.ts';
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
  /** `note` writes it down; to be called when the run has taken it in. */
  | { outcome: 'failed'; error: string; note: () => Promise<void> };

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
  let attempts = 0;
  try {
    return await climbLadder({
      ladder: segment.kind === 'concurrent' ? patient : lock,
      signal,
      onRetry: (error) => onRetry?.(schema, error),
      attempt: (rung) => {
        attempts += 1;
        const own = { id: of.run, wave: of.wave, attempts };
        return parts.limit(() => applyOnce(parts, schema, segment, own, rung));
      },
    });
  } catch (error) {
    if (error instanceof Stopped) throw error;
    if (signal.aborted) throw new Stopped((signal.reason as Error).message);
    const words = wordsOf(error);
    const [step = ''] = segment.scripts.map((script) => script.step);
    const failure = {
      ...{ step, error: words, durationMs: clock.monotonicMs() - startedMs },
      run: { id: of.run, wave: of.wave, attempts },
    };
    return { outcome: 'failed', error: words, note: () => note(parts, schema, failure) };
  }
}

async function applyOnce(
  parts: ApplyParts,
  schema: SchemaName,
  { kind, scripts }: Segment,
  run: RunOf,
  rung: Rung,
): Promise<Applied> {
  const { migrator, statementTimeoutMs } = parts;
  const pending = await migrator.inSchema(
    schema,
    async (work) => {
      const left = await begin(work, schema, scripts, run);
      if (left === undefined || kind !== 'transaction') return left;
      for (const script of left) await work.apply(script, run);
      return left;
    },
    { lockTimeoutMs: rung.timeoutMs, statementTimeoutMs },
  );
  if (pending === undefined) return { outcome: 'gone' };
  if (kind !== 'transaction') {
    for (const script of pending) {
      if (kind === 'concurrent') await buildConcurrently(migrator, schema, script, rung);
      else await runBackfill(parts, schema, script, rung);
      await migrator.inSchema(schema, async (work) => {
        const left = await begin(work, schema, [script], run);
        if (left !== undefined && left.length > 0) await work.record(script, run);
      });
    }
  }
  return { outcome: 'applied', steps: pending.map(({ step }) => step) };
}

/**
 * What is still to be applied; undefined for a schema that nobody wants any more.
 *
 * @throws Stopped; AppError unavailable; Error for a schema that is missing
 */
async function begin(
  work: SchemaWork,
  schema: SchemaName,
  scripts: readonly Script[],
  run: RunOf,
): Promise<Script[] | undefined> {
  const { there, wanted, leased, applied, knexLocked } = await work.survey(run.id);
  if (!leased) throw new Stopped('Another runner has taken the lease over.');
  if (!wanted) return undefined;
  if (!there) throw new Error(`The schema ${schema} is missing, though ${applied.at(-1)} was applied to it.`);
  if (knexLocked) await clearKnexLock(await work.session());
  return scripts.filter(({ step }) => !applied.includes(step));
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
