import type { Clock } from '../../clock.ts';
import type { ControlDatabase } from '../../db/index.ts';
import { JobCancelled, JobLost, type JobHandlers, JobRefused, type JobRun } from './job.ts';
import { beat, beginRun, type Begun, endRun, giveBack, type Own, saveRun } from './repository.ts';

/** One run of one job, from the queue to its end: heartbeats, cancelling, running again. */
export interface RunOptions {
  database: ControlDatabase;
  handlers: JobHandlers;
  clock: Clock;
  /** Told of what went wrong and will be tried again, or has been given up. */
  onFailure: (
    job: { job: string; kind: string; attempts: number; willRetry: boolean },
    error: unknown,
  ) => void;
}

/** How often a run says that it lives. */
export const beatMs = 2000;
/** A run that has not been heard of for this long is taken for dead, and takes itself for dead. */
export const silentMs = 10_000;
/** How often a job is begun at most. One that was given back because its process stopped does not count. */
export const maxAttempts = 5;

/** 1, 2, 4, 8 s after the first, second, … attempt. */
export function retryDelayMs(attempts: number): number {
  return 1000 * 2 ** (attempts - 1);
}

/**
 * @param worker names the process to others
 * @param stopping aborted when the process stops: the job is given back
 */
export async function runJob(
  { database, handlers, clock, onFailure }: RunOptions,
  { id, worker }: Own,
  stopping: AbortSignal,
): Promise<void> {
  const begun = await database.write((session) => beginRun(session, id, worker));
  if (begun === undefined) return;
  const own = { id, worker, kind: begun.kind };
  const ended = new AbortController();
  let cancelled = false;
  let heardMs = clock.monotonicMs();

  function cancel(): void {
    cancelled = true;
    ended.abort(new JobCancelled('The job was cancelled.'));
  }

  async function say(): Promise<void> {
    try {
      const heard = await database.write((session) => beat(session, own));
      if (heard === undefined) ended.abort(new JobLost());
      else if (heard.cancel) cancel();
      heardMs = clock.monotonicMs();
    } catch {
      // Said again soon; who cannot be heard must not go on, for others will take the job over.
      if (clock.monotonicMs() - heardMs > silentMs - beatMs) ended.abort(new JobLost());
    }
  }

  const timer = setInterval(() => void say(), beatMs);
  try {
    const handler = handlers[begun.kind];
    if (handler === undefined) throw new JobRefused(`Nothing here knows jobs of the kind ${begun.kind}.`);
    const signal = AbortSignal.any([ended.signal, stopping]);
    const result = await handler(runOf(own, begun, signal, cancel));
    await database.write((session) => endRun(session, own, { status: 'succeeded', result }));
  } catch (error) {
    if (error instanceof JobLost || ended.signal.reason instanceof JobLost) return;
    if (cancelled) {
      await database.write((session) => endRun(session, own, { status: 'cancelled' }));
    } else if (stopping.aborted) {
      await database.write((session) => giveBack(session, own, { delayMs: 0, counts: false }));
    } else await failed(error);
  } finally {
    clearInterval(timer);
  }

  async function failed(error: unknown): Promise<void> {
    const { attempts, kind } = begun as Begun; // begun before this could be called
    const willRetry = attempts < maxAttempts && !(error instanceof JobRefused);
    onFailure({ job: id, kind, attempts, willRetry }, error);
    const reason = error instanceof Error ? error.message : String(error);
    await database.write(async (session) => {
      if (willRetry) {
        await giveBack(session, own, { delayMs: retryDelayMs(attempts), counts: true, error: reason });
      } else await endRun(session, own, { status: 'failed', error: reason });
    });
  }
}

function runOf(own: Own, { tenant, input, state }: Begun, signal: AbortSignal, cancel: () => void): JobRun {
  let current = state;
  return {
    id: own.id,
    tenant: tenant ?? undefined,
    input,
    get state() {
      return current;
    },
    signal,
    async save(session, saved) {
      const heard = await saveRun(session, own, saved);
      if (heard === undefined) throw new JobLost('Another process has taken the job over.');
      if (heard.cancel) cancel();
      current = saved.state ?? current;
    },
  };
}
