import type { Clock } from '../../clock.ts';
import type { ControlDatabase } from '../../db/index.ts';
import type { RunReport, SchemaResult } from './report.ts';
import { addEvents, lastEvent, type Progress, type RunStatus, saveProgress, setStatus } from './runs.ts';

/** What a run tells, to whoever started it at once, and to everybody else from the database, moments later. */
export type RunEvent =
  | { type: 'started'; run: string; build: string; schemas: number; parallel: number }
  | { type: 'wave'; wave: string; schemas: number }
  | ({ type: 'schema'; wave: string } & SchemaResult)
  /** A lock was not to be had, or the server was lost; it is tried again. */
  | { type: 'retry'; schema: string; error: string }
  | { type: 'paused' | 'resumed' }
  /** The database or the service is unwell: nothing is begun until it is well again. */
  | { type: 'unwell'; reason: string }
  | { type: 'well' }
  | { type: 'finished'; status: RunStatus; reason: string | null; counts: RunReport['counts'] };

export interface Journal {
  tell(event: RunEvent): void;
  progress(progress: Progress): void;
  /** Written at once. */
  status(status: RunStatus, reason: string | null): Promise<void>;
  /** Writes what is left. @throws what kept the last try from it */
  close(): Promise<void>;
}

const flushMs = 250;
const batch = 500;

export async function openJournal(
  { database, clock }: { database: ControlDatabase; clock: Clock },
  run: string,
  onEvent: ((event: RunEvent) => void) | undefined,
): Promise<Journal> {
  let seq = await database.read((session) => lastEvent(session, run));
  const waiting: { seq: number; atMs: number; event: RunEvent }[] = [];
  let progress: Progress | undefined;
  let flushing: Promise<void> | undefined;

  async function flush(): Promise<void> {
    do {
      const events = waiting.slice(0, batch);
      const latest = progress;
      if (events.length === 0 && latest === undefined) return;
      await database.write(async (session) => {
        if (events.length > 0) await addEvents(session, run, events);
        if (latest !== undefined) await saveProgress(session, run, latest);
      });
      waiting.splice(0, events.length);
      if (progress === latest) progress = undefined;
    } while (waiting.length > 0);
  }

  const timer = setInterval(() => {
    // What cannot be written now is written with the next, or by close().
    flushing ??= flush()
      .catch(() => undefined)
      .finally(() => {
        flushing = undefined;
      });
  }, flushMs);

  return {
    tell(event) {
      onEvent?.(event);
      seq += 1;
      waiting.push({ seq, atMs: clock.nowMs(), event });
    },
    progress(latest) {
      progress = latest;
    },
    status: (status, reason) => database.write((session) => setStatus(session, run, status, reason)),
    async close() {
      clearInterval(timer);
      await flushing;
      await flush();
    },
  };
}
