import type { Clock } from '../clock.ts';
import { countRows, limitReached } from './capacity.ts';
import type { Database } from './contract.ts';
import type { TenantScope } from './scope.ts';

/**
 * Keeps tenants within their limit of rows. Counting all rows of a tenant takes long, so this process remembers a count
 * and adds what it has let in since; the nearer the limit, the sooner it counts again.
 *
 * A limit can be exceeded by what other processes add between two counts (60 s apart below nine tenths of it, 1 s above)
 * and by what is being added at the moment of a count. Deleting makes room at the next count.
 */
export interface RowLimit {
  /**
   * To be called before `adding` rows are written. At once for tenants without the limit.
   *
   * @param unseen rows that were let in before and that a count does not find yet, because their transaction is open
   * @throws AppError limit_reached
   */
  require(scope: TenantScope, adding: number, unseen?: number): Promise<void> | undefined;
}

export interface RowLimitOptions {
  db: Pick<Database, 'read'>;
  clock: Clock;
  /** Tables whose rows count. */
  tables: readonly string[];
}

/** For tests and tools that write what nobody limits. */
export const noRowLimit: RowLimit = { require: () => undefined };

const farMs = 60_000;
const nearMs = 1000;
const nearShare = 0.9;

interface Known {
  rows: number;
  countedAtMs: number;
}

export function createRowLimit({ db, clock, tables }: RowLimitOptions): RowLimit {
  const known = new Map<string, Known>();
  const counting = new Map<string, Promise<Known>>();

  /** On the primary; one count at a time, however many units wait for it. */
  function count(scope: TenantScope): Promise<Known> {
    const { id } = scope.tenant;
    const pending = counting.get(id);
    if (pending !== undefined) return pending;
    const strong: TenantScope = { ...scope, consistency: { level: { kind: 'strong' } } };
    const asked = db
      .read(strong, (session) => countRows(session, tables))
      .then((rows) => {
        const counted = { rows, countedAtMs: clock.monotonicMs() };
        known.set(id, counted);
        return counted;
      })
      .finally(() => counting.delete(id));
    counting.set(id, asked);
    return asked;
  }

  async function require(scope: TenantScope, max: number, adding: number, unseen: number): Promise<void> {
    let now = known.get(scope.tenant.id);
    const near = now !== undefined && now.rows + adding > nearShare * max;
    const ageMs = now === undefined ? Infinity : clock.monotonicMs() - now.countedAtMs;
    if (now === undefined || ageMs > (near ? nearMs : farMs)) {
      now = await count(scope);
      now.rows += unseen;
    }
    if (now.rows + adding > max) throw limitReached('rows', max);
    // What then fails is counted until the next count.
    now.rows += adding;
  }

  return {
    require(scope, adding, unseen = 0) {
      const max = scope.tenant.limits?.rows;
      return max === undefined ? undefined : require(scope, max, adding, unseen);
    },
  };
}
