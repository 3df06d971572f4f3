import { v7 as uuidv7 } from 'uuid';
import type { Author, ControlDatabase, Page, PageRequest } from '../../db/index.ts';
import { AppError, notFound } from '../../errors.ts';
import { recordPlatformEvent } from '../audit/repository.ts';
import { JobCancelled, type JobHandler, JobRefused } from '../jobs/job.ts';
import type { JobService } from '../jobs/service.ts';
import type { Wanted } from './lease.ts';
import { type Failure, readFailures } from './ledger.ts';
import { stands } from './plan.ts';
import { type FleetStatus, statusOf } from './report.ts';
import type { Runner } from './runner.ts';
import {
  countRuns,
  eventsAfter,
  findLive,
  findRun,
  insertRun,
  type KeptEvent,
  pageOfRuns,
  type RunStatus,
  type RunView,
  setStatus,
  want,
} from './runs.ts';
import type { StartRun } from './schema.ts';

/** Runs of the fleet, for those who start them and look on. */
export interface FleetService {
  /** @throws AppError migration_refused */
  status(): Promise<FleetStatus & { run: RunView | null; failures: Failure[] }>;
  /**
   * Starts a run, as a job.
   *
   * @throws AppError run_under_way, migration_refused, invalid_input: see Runner
   */
  start(choices: StartRun, author: Author): Promise<RunView>;
  /** @throws AppError not_found */
  get(id: string): Promise<RunView>;
  /** By time of creation. */
  list(request: PageRequest<RunFilter>): Promise<Page<RunView>>;
  count(where: Partial<RunFilter>): Promise<number>;
  /**
   * Asks a run to go on, to pause or to end; it does within a second, and finishes what it has begun.
   *
   * @param id the one that is under way by default
   * @throws AppError not_found, run_ended
   */
  ask(wanted: Wanted, author: Author, id?: string): Promise<RunView>;
  /** The next events of a run after this one. @returns at most a few hundred, none when there are none yet */
  events(id: string, after: number): Promise<KeptEvent[]>;
}

export interface RunFilter {
  createdAt: string;
  status: RunStatus;
}

const eventsAtOnce = 500;

export function createFleetService(parts: {
  database: ControlDatabase;
  jobs: JobService;
  runner: Runner;
}): FleetService {
  const { database, jobs, runner } = parts;
  const get = async (id: string) => {
    const run = await database.read((session) => findRun(session, id));
    if (run === undefined) throw notFound('There is no such run.');
    return run;
  };

  return {
    async status() {
      const plans = await runner.plan();
      if (!stands(plans)) return { ...statusOf(plans), run: null, failures: [] };
      const more = await database.read(async (session) => ({
        run: (await findLive(session)) ?? null,
        failures: await readFailures(session),
      }));
      return { ...statusOf(plans), ...more };
    },

    async start(choices, author) {
      await runner.check(choices);
      return database.write(async (session) => {
        // Two that ask at once meet here.
        await session.query('lock table control.migration_runs in share row exclusive mode');
        const live = await findLive(session);
        if (live !== undefined) {
          throw new AppError('run_under_way', `Run ${live.id} is ${live.status}, by ${live.requestedBy}.`);
        }
        const id = uuidv7();
        await insertRun(session, { id, options: choices, requestedBy: author.actor.id });
        const job = await jobs.add(session, { kind: 'migrate', tenant: null, input: { run: id } });
        await recordPlatformEvent(session, author, {
          ...{ action: 'migrations.start', resource: 'migrations', resourceId: id },
          after: { ...choices, job: job.id },
        });
        const run = await findRun(session, id);
        if (run === undefined) throw new Error('A run that has just been written is not there');
        return run;
      });
    },

    get,
    list: (request) => database.read((session) => pageOfRuns(session, request)),
    count: (where) => database.read((session) => countRuns(session, where.status)),

    async ask(wanted, author, id) {
      const target = id ?? (await database.read(findLive))?.id;
      if (target === undefined) throw notFound('No run is under way.');
      const { status } = await get(target);
      return database.write(async (session) => {
        const run = await want(session, target, wanted);
        if (run === undefined) throw new AppError('run_ended', `The run has ${status} already.`);
        await recordPlatformEvent(session, author, {
          ...{ action: `migrations.${wanted === 'run' ? 'resume' : wanted}`, resource: 'migrations' },
          resourceId: target,
        });
        // Nobody holds the lease of one that waits in the queue.
        if (wanted !== 'cancel' || run.status !== 'queued') return run;
        await setStatus(session, target, 'cancelled', 'the run was cancelled');
        return { ...run, status: 'cancelled' };
      });
    },

    async events(id, after) {
      return database.read((session) => eventsAfter(session, id, after, eventsAtOnce));
    },
  };
}

const tellMs = 1000;

/** A run that was asked for over the API. A process that dies in it is followed by another, which goes on. */
export function migrateHandler({
  database,
  runner,
}: {
  database: ControlDatabase;
  runner: Runner;
}): JobHandler {
  return async (job) => {
    const { run: id } = job.input as { run: string }; // as start() made it
    const run = await database.read((session) => findRun(session, id));
    if (run === undefined) throw new JobRefused('There is no such run.');
    let progress = { done: 0, total: 0, unit: 'schemas' };
    const timer = setInterval(() => {
      // What is lost of it is told by the next.
      void database.write((session) => job.save(session, { progress })).catch(() => undefined);
    }, tellMs);
    try {
      const { results, ...report } = await runner.up({
        ...run.options,
        ...{ run: id, requestedBy: run.requestedBy ?? 'system', signal: job.signal, resumable: true },
        onProgress: ({ done, total }) => {
          progress = { ...progress, done, total };
        },
      });
      if (job.signal.reason instanceof JobCancelled) {
        await database.write((session) => setStatus(session, id, 'cancelled', 'its job was cancelled'));
      }
      // It has lost its lease with the server that went away: the next attempt takes it up.
      const left = await database.read((session) => findRun(session, id));
      if (left?.status === 'running' || left?.status === 'paused') throw new Error(report.reason);
      return { ...report, failed: results.filter(({ outcome }) => outcome === 'failed') };
    } catch (error) {
      if (!(error instanceof AppError) || error.code === 'unavailable') throw error;
      await database.write((session) => setStatus(session, id, 'failed', error.message));
      throw new JobRefused(error.message);
    } finally {
      clearInterval(timer);
    }
  };
}
