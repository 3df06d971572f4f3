import type { Clock } from '../clock.ts';
import { type Database, schemaName } from '../db/index.ts';
import { unavailable } from '../errors.ts';

/**
 * How a process learns that tenants have changed. Every change has a number, an epoch, and numbers become visible in
 * order (migrations/control/0003): so one cheap statement twice a second tells all that has changed since the last. It
 * goes to the primary, whose answer nothing is missing from; while the primary is lost, when nothing can be changed, a
 * replica will do.
 *
 * There is no timer: requests ask when the last answer has become old, in the background as long as it still counts. A
 * process without requests asks nothing, and the first request after a pause waits for one round trip.
 */
export interface Epochs {
  /** The newest epoch that is known. */
  current(): number;
  /** What is known counts without waiting. May ask in the background. */
  known(): boolean;
  /** Asks; where nobody answers, what was known counts for a while. @throws AppError unavailable after that */
  learn(): Promise<void>;
  /** Asks now. Where nobody answers the next request will. */
  refresh(): Promise<void>;
}

export interface EpochsOptions {
  database: Pick<Database, 'lookUp'>;
  clock: Clock;
  /** Told before the answer counts. `all`: it is not known which. */
  changed: (tenants: readonly { id: string; slug: string }[] | 'all') => void;
}

/** An answer older than this is replaced in the background … */
const agingMs = 400;
/** … and one older than this is waited for: a suspension reaches every process within this time. */
const staleMs = 900;
/** Without any answer for this long nobody is served: a suspended tenant could be among them. */
const failClosedMs = 15_000;
/** After a question that nobody has answered, others do not wait for the next one for this long. */
const patienceMs = 500;

interface Change {
  id: string;
  slug: string;
  epoch: number;
}

export function createEpochs({ database, clock, changed }: EpochsOptions): Epochs {
  let newest: Pick<Change, 'id' | 'epoch'> | undefined;
  /** When the last question that was answered was asked. */
  let askedMs = -Infinity;
  let failedMs = -Infinity;
  let asking: Promise<void> | undefined;

  async function ask(): Promise<void> {
    const startedMs = clock.monotonicMs();
    try {
      const rows = await database.lookUp<Change>(
        schemaName('control'),
        `select id, slug, epoch from tenant_epochs
         where epoch >= $1 or epoch = (select max(epoch) from tenant_epochs) order by epoch`,
        [newest?.epoch ?? 0],
      );
      learned(rows);
      askedMs = startedMs;
    } catch (error) {
      failedMs = clock.monotonicMs();
      throw error;
    }
  }

  function learned(rows: readonly Change[]): void {
    const before = newest;
    newest = rows.at(-1);
    if (before !== undefined && follows(rows, before)) {
      const since = rows.filter(({ epoch }) => epoch > before.epoch);
      if (since.length > 0) changed(since);
    } else changed('all');
  }

  /** One question at a time. */
  function askOnce(): Promise<void> {
    asking ??= ask().finally(() => {
      asking = undefined;
    });
    return asking;
  }

  const ageMs = () => clock.monotonicMs() - askedMs;

  return {
    current: () => newest?.epoch ?? 0,
    known() {
      const age = ageMs();
      if (age >= agingMs && asking === undefined) void askOnce().catch(() => undefined); // whoever waits next is told
      if (age < staleMs) return true;
      return age < failClosedMs && clock.monotonicMs() - failedMs < patienceMs;
    },
    async learn() {
      try {
        await askOnce();
      } catch (error) {
        if (ageMs() < failClosedMs) return;
        throw unavailable('It is not known at the moment which tenants are served.', error);
      }
    },
    async refresh() {
      // What is under way may have been asked before the change.
      await asking?.catch(() => undefined);
      await askOnce().catch(() => undefined);
    },
  };
}

/**
 * The server knows the change that was the newest, and has given its number to no other: otherwise it is a replica that
 * is behind, or a new primary that has lost what the old one had acknowledged.
 */
function follows(rows: readonly Change[], before: Pick<Change, 'id' | 'epoch'>): boolean {
  return (
    rows.some(({ id, epoch }) => id === before.id && epoch >= before.epoch) &&
    rows.every(({ id, epoch }) => id === before.id || epoch !== before.epoch)
  );
}
