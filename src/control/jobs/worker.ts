import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Runner, WorkerEvents } from 'graphile-worker';
import type { PoolClient } from 'pg';
import type { Logger } from 'pino';
import { type ControlDatabase, createLentPool, type LentPool } from '../../db/index.ts';
import {
  enqueue,
  findOrphans,
  giveBack,
  lockOrphan,
  type Orphan,
  queueSchema,
  unlockWorker,
  endRun,
} from './repository.ts';
import { maxAttempts, retryDelayMs, runJob, type RunOptions, silentMs } from './run.ts';

/**
 * Takes jobs from the queue and runs them, in this process. graphile-worker wakes it up and makes sure that one process
 * takes a job; who has died it would only miss after four hours, so that is looked after here, by heartbeats.
 */
export interface JobWorker {
  /** Goes on trying until the queue can be reached. */
  start(): void;
  /** Jobs under way are given back to the queue. May be called twice, and before start(). */
  stop(): Promise<void>;
}

export interface WorkerOptions extends Omit<RunOptions, 'onFailure'> {
  /** Of the role tenantry_owner. */
  adminUrl: string;
  database: ControlDatabase;
  logger: Logger;
  /** Channel → what is done when something is said there: the worker has the connection that listens, anyway. */
  listen?: Readonly<Record<string, () => void>>;
  /** Called every few seconds: for what ends of jobs leave to others. */
  tend?: () => Promise<void>;
}

/** Jobs at the same time. */
const concurrency = 2;
/** One listens, one asks for jobs and ends them. */
const poolMax = 2;
const sweepMs = 3000;
const restartMs = 2000;
const stopPatienceMs = 8000;

/** Of graphile-worker, as package.json pins it. */
export const queueVersion = '0.17.3';

/**
 * Makes graphile-worker's tables, or brings them up to date. Which version has done so is written on their schema: to load
 * it only to hear that there is nothing to do would be half of what a run of the fleet takes that finds nothing to do.
 */
export async function installQueue(
  adminUrl: string,
  database: ControlDatabase,
  logger: Logger,
): Promise<void> {
  const installed = await database.read((session) =>
    session.query<{ version: string | null }>(
      `select obj_description(to_regnamespace($1)::oid, 'pg_namespace') as version`,
      [queueSchema],
    ),
  );
  const version = `graphile-worker ${queueVersion}`;
  if (installed[0]?.version === version) return;
  const { runMigrations } = await import('graphile-worker');
  const lent = lentPool(adminUrl, logger);
  try {
    await runMigrations(await common(lent, logger));
    await lent.pool.query(`comment on schema ${queueSchema} is '${version}'`);
  } finally {
    await lent.end();
  }
}

export function createJobWorker(options: WorkerOptions): JobWorker {
  const { adminUrl, database, logger, handlers, listen = {}, tend } = options;
  const stopping = new AbortController();
  const runOptions: RunOptions = {
    ...options,
    onFailure: (job, error) => logger.error({ ...job, err: error }, 'a job has failed'),
  };
  let working: Promise<void> | undefined;
  let sweeping: Promise<void> = Promise.resolve();
  let sweeper: NodeJS.Timeout | undefined;

  /** Until stop(); whatever ends the worker before, it is started again. */
  async function work(): Promise<void> {
    while (!stopping.signal.aborted) {
      const lent = lentPool(adminUrl, logger);
      try {
        await workOn(lent);
      } catch (error) {
        if (stopping.signal.aborted) return;
        logger.warn({ error: (error as Error).message }, 'jobs cannot be run at the moment');
      } finally {
        await lent.end();
      }
      await pause(restartMs, stopping.signal);
    }
  }

  async function workOn(lent: LentPool): Promise<void> {
    const runner = await begin(lent);
    if (sweeper === undefined) {
      const look = () => {
        sweeping = sweeping.then(sweep);
      };
      look(); // who starts may be who takes the place of a process that died
      sweeper = setInterval(look, sweepMs);
    }
    const stop = () => void runner.stop().catch(() => undefined); // its promise tells
    stopping.signal.addEventListener('abort', stop);
    if (stopping.signal.aborted) stop();
    await runner.promise.finally(() => stopping.signal.removeEventListener('abort', stop));
  }

  async function begin(lent: LentPool): Promise<Runner> {
    const { run } = await import('graphile-worker');
    const events: WorkerEvents = new EventEmitter();
    // When graphile-worker itself has begun to listen: one statement at a time.
    events.on('pool:listen:success', ({ client }) => client.once('drain', () => void listenToo(client)));
    events.on('pool:listen:notification', ({ message }) => listen[message.channel]?.());
    const kinds = Object.keys(handlers).map((kind) => [kind, task] as const);
    return run({
      ...(await common(lent, logger)),
      events,
      concurrency,
      pollInterval: 1000,
      noHandleSignals: true,
      parsedCronItems: [],
      // Without batches a job that cannot be ended, because the primary has just been lost, is a rejection that nobody
      // handles, and ends the process.
      preset: { worker: { completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
      taskList: Object.fromEntries(kinds),
    });
  }

  async function listenToo(client: PoolClient): Promise<void> {
    try {
      for (const channel of Object.keys(listen)) await client.query(`listen ${channel}`);
    } catch (error) {
      logger.warn({ error: (error as Error).message }, 'what is said on channels will not be heard');
    }
  }

  async function task(payload: unknown, { job }: { job: { locked_by: string | null } }): Promise<void> {
    const { job: id } = payload as { job: string }; // as enqueue() made it
    await runJob(runOptions, { id, worker: job.locked_by ?? 'unknown' }, stopping.signal);
  }

  async function sweep(): Promise<void> {
    try {
      const orphans = await database.read((session) => findOrphans(session, silentMs));
      for (const orphan of orphans) await adopt(orphan);
      await tend?.();
    } catch (error) {
      logger.warn({ error: (error as Error).message }, 'jobs of dead processes could not be looked for');
    }
  }

  function adopt(orphan: Orphan): Promise<void> {
    const { id, kind, worker, heldBy, attempts } = orphan;
    return database.write(async (session) => {
      if (!(await lockOrphan(session, orphan, silentMs))) return;
      if (heldBy !== null) await unlockWorker(session, heldBy, silentMs);
      logger.warn(
        { job: id, kind, attempts, worker: worker ?? heldBy },
        'a job was taken from a dead process',
      );
      if (worker === null) await enqueue(session, { id, kind }, 0);
      else if (attempts >= maxAttempts) {
        const error = `The process that ran it died, ${attempts} times.`;
        await endRun(session, { id, worker }, { status: 'failed', error });
      } else {
        const error = 'The process that ran it died.';
        const delayMs = attempts === 1 ? 0 : retryDelayMs(attempts - 1);
        await giveBack(session, { id, worker, kind }, { delayMs, counts: true, error });
      }
    });
  }

  return {
    start() {
      if (working !== undefined || stopping.signal.aborted) return;
      working = work();
    },
    async stop() {
      stopping.abort();
      // A connection that nobody answers on must not keep the process from ending.
      const ended = new AbortController();
      const finished = Promise.resolve(working).finally(() => ended.abort());
      await Promise.race([finished, pause(stopPatienceMs, ended.signal)]);
      clearInterval(sweeper);
      await sweeping;
    },
  };
}

/** graphile-worker's own pool stops listening for errors before its connections are closed, which ends the process. */
function lentPool(adminUrl: string, logger: Logger): LentPool {
  return createLentPool({
    url: adminUrl,
    max: poolMax,
    applicationName: 'tenantry-jobs',
    onError: (error) => logger.warn({ part: 'jobs', error: error.message }, 'an idle connection was lost'),
  });
}

/** What graphile-worker has to say goes to our log; its errors of single jobs never get there, see run.ts. */
async function common(lent: LentPool, logger: Logger) {
  const { Logger: QueueLogger } = await import('graphile-worker');
  return {
    pgPool: lent.pool,
    schema: queueSchema,
    logger: new QueueLogger(() => (level, message) => {
      // The enum of levels is not exported.
      if ((level as string) === 'error') logger.warn({ part: 'jobs' }, message);
      else logger.debug({ part: 'jobs' }, message);
    }),
  };
}

/** Until the time has passed, or the signal comes or has come. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return sleep(ms, undefined, { signal }).catch(() => undefined); // it rejects when it is aborted, and only then
}
