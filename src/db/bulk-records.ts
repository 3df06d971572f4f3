import { AppError } from '../errors.ts';
import { limitReached } from './capacity.ts';
import type { Database } from './contract.ts';
import { isOfRow, isTaken } from './pg-errors.ts';
import type { RowLimit } from './row-limit.ts';
import type { TenantScope } from './scope.ts';
import type { WriteSession } from './session.ts';
import { attempt } from './transaction.ts';
import type { Changes, Own, Refusal, Selection, Stamped, Table } from './table-contract.ts';

/** Rows that are written together. */
export interface Batch<Row> {
  /** Up to 10,000. */
  rows: readonly Row[];
  /** What each is called where it came from: its index there, or its line. */
  places: readonly number[];
}

/** Why a row could not be written. */
export interface RowFault extends Refusal {
  place: number;
}

export interface BatchOutcome {
  /** In the order of the rows, null for those refused; of all or nothing, none when any was refused. */
  ids: (string | null)[];
  /** In the order of the rows. */
  refused: RowFault[];
}

/** Rows that are there and that filters leave. */
export type Selected<Row> = Pick<Selection<Row>, 'where' | 'filter'>;

/** Units of work on very many rows of one table. */
export interface BulkRecords<Row extends Stamped, Create> {
  /** All or nothing, in one unit of work. @throws AppError limit_reached */
  createAll(scope: TenantScope, batch: Batch<Create>): Promise<BatchOutcome>;
  /**
   * All or nothing, in one unit of work that lasts as long as the batches take to come. What `batches` throws undoes it.
   *
   * @returns how many were written; none when some were refused, which are those of the first batch with any
   * @throws AppError limit_reached; unavailable, never to be run again by itself
   */
  createAllOf(
    scope: TenantScope,
    batches: AsyncIterable<Batch<Create>>,
  ): Promise<{ created: number; refused: RowFault[] }>;
  /** What can be written, in one unit of work. */
  createSome(scope: TenantScope, batch: Batch<Create>): Promise<BatchOutcome>;
  /**
   * In one unit of work.
   *
   * @param dryRun changes nothing
   * @returns how many rows there were
   * @throws AppError too_many_matched; what the constraints say
   */
  patchSelected(
    scope: TenantScope,
    selected: Selected<Row>,
    changes: Changes<Row>,
    dryRun?: boolean,
  ): Promise<number>;
  /** The same; `deletionId` is null when nothing was deleted. */
  removeSelected(
    scope: TenantScope,
    selected: Selected<Row>,
    dryRun?: boolean,
  ): Promise<{ count: number; deletionId: string | null }>;
}

/** Rows that one request may change or delete. */
export const mostSelected = 10_000;
/** Refused rows of all or nothing that are looked for: an answer names no more. */
const mostTold = 100;

export function createBulkRecords<Row extends Stamped>(
  db: Database,
  table: Table<Row>,
  rowLimit: RowLimit,
): BulkRecords<Row, Own<Row>> {
  const outcomeOf = (
    { places }: Batch<Own<Row>>,
    { ids, taken }: { ids: (string | null)[]; taken: Refusal },
  ): BatchOutcome => ({
    ids,
    refused: ids.flatMap((id, at) => (id === null ? [{ ...taken, place: places[at] ?? at }] : [])),
  });

  /**
   * What can be written: all at once where that goes; else without what has been taken; else by halves.
   *
   * @param enough refused rows, after which the others are not looked at
   */
  async function insertSome(
    session: WriteSession,
    batch: Batch<Own<Row>>,
    enough = Infinity,
  ): Promise<BatchOutcome> {
    const insert = (skipTaken: boolean) =>
      attempt(session, () => table.insertBatch(session, batch.rows, { skipTaken }));
    let fault = await faultOf(async () => insert(false));
    if ('value' in fault) return outcomeOf(batch, fault.value);
    if (isTaken(fault.error)) {
      fault = await faultOf(async () => insert(true));
      if ('value' in fault) return outcomeOf(batch, fault.value);
    }
    if (batch.rows.length === 1) {
      return { ids: [null], refused: [{ ...refusalOf(fault.error), place: batch.places[0] ?? 0 }] };
    }
    const [first, second] = halves(batch);
    const one = await insertSome(session, first, enough);
    if (one.refused.length >= enough) return one;
    const other = await insertSome(session, second, enough - one.refused.length);
    return { ids: [...one.ids, ...other.ids], refused: [...one.refused, ...other.refused] };
  }

  async function insertAll(session: WriteSession, batch: Batch<Own<Row>>): Promise<BatchOutcome> {
    const outcome = await insertSome(session, batch, mostTold);
    if (outcome.refused.length > 0) throw new Refused(outcome.refused);
    return outcome;
  }

  /** How many of `count` rows the tenant may still have. */
  async function roomFor(scope: TenantScope, count: number): Promise<number> {
    let room = 0;
    let part = count;
    while (part > 0) {
      try {
        await rowLimit.require(scope, part);
        room += part;
      } catch (error) {
        if (!isLimit(error)) throw error;
        part >>= 1;
      }
      part = Math.min(part, count - room);
    }
    return room;
  }

  async function createSome(scope: TenantScope, batch: Batch<Own<Row>>): Promise<BatchOutcome> {
    const { rows, places } = batch;
    const room = await roomFor(scope, rows.length);
    const outcome: BatchOutcome =
      room === 0
        ? { ids: [], refused: [] }
        : await db.writeBulk(scope, (session) =>
            insertSome(session, { rows: rows.slice(0, room), places: places.slice(0, room) }),
          );
    const full = refusalOf(limitReached('rows', scope.tenant.limits?.rows ?? 0));
    return {
      ids: [...outcome.ids, ...rows.slice(room).map(() => null)],
      refused: [...outcome.refused, ...places.slice(room).map((place) => ({ ...full, place }))],
    };
  }

  async function createAll(scope: TenantScope, batch: Batch<Own<Row>>): Promise<BatchOutcome> {
    await rowLimit.require(scope, batch.rows.length);
    try {
      return await db.writeBulk(scope, (session) => insertAll(session, batch));
    } catch (error) {
      if (error instanceof Refused) return { ids: [], refused: error.refused };
      throw error;
    }
  }

  async function createAllOf(scope: TenantScope, batches: AsyncIterable<Batch<Own<Row>>>) {
    let created = 0;
    try {
      await db.writeBulk(
        scope,
        async (session) => {
          for await (const batch of batches) {
            await rowLimit.require(scope, batch.rows.length, created);
            await insertAll(session, batch);
            created += batch.rows.length;
          }
        },
        { lasting: true },
      );
      return { created, refused: [] };
    } catch (error) {
      if (error instanceof Refused) return { created: 0, refused: error.refused };
      throw error;
    }
  }

  const matching = (scope: TenantScope, { where, filter }: Selected<Row>) =>
    db.read(scope, (session) => table.count(session, where, { filter }));

  /** @throws AppError too_many_matched */
  async function requireFew(session: WriteSession, { where, filter }: Selected<Row>): Promise<void> {
    const matched = await table.count(session, where, { filter });
    if (matched > mostSelected) throw tooMany(matched);
  }

  return {
    createAll,
    createAllOf,
    createSome,
    async patchSelected(scope, selected, changes, dryRun = false) {
      if (dryRun) return matching(scope, selected);
      return db.writeBulk(scope, async (session) => {
        await requireFew(session, selected);
        const count = await table.updateSelected(session, selected, changes, mostSelected + 1);
        if (count > mostSelected) throw tooMany(count); // some have come since they were counted
        return count;
      });
    },
    async removeSelected(scope, selected, dryRun = false) {
      if (dryRun) return { count: await matching(scope, selected), deletionId: null };
      return db.writeBulk(scope, async (session) => {
        await requireFew(session, selected);
        const { count, deletion } = await table.softDeleteSelected(session, selected, mostSelected + 1);
        if (count > mostSelected) throw tooMany(count);
        return { count, deletionId: deletion?.deletionId ?? null };
      });
    },
  };
}

/** Ends a unit of work so that nothing of it is kept. */
class Refused extends Error {
  readonly refused: RowFault[];

  constructor(refused: RowFault[]) {
    super('Rows were refused');
    this.refused = refused;
  }
}

/** What a row among others made PostgreSQL say. @throws all that `fn` throws for another reason */
async function faultOf<T>(fn: () => Promise<T>): Promise<{ value: T } | { error: unknown }> {
  try {
    return { value: await fn() };
  } catch (error) {
    if (!isOfRow(error)) throw error;
    return { error };
  }
}

function refusalOf(error: unknown): Refusal {
  if (!(error instanceof AppError)) throw error;
  const { code, message, errors } = error;
  return { code, errors: errors.length > 0 ? errors : [{ pointer: '', code, message }] };
}

function isLimit(error: unknown): boolean {
  return error instanceof AppError && error.code === 'limit_reached';
}

function halves<Row>({ rows, places }: Batch<Row>): [Batch<Row>, Batch<Row>] {
  const middle = rows.length >> 1;
  return [
    { rows: rows.slice(0, middle), places: places.slice(0, middle) },
    { rows: rows.slice(middle), places: places.slice(middle) },
  ];
}

function tooMany(matched: number): AppError {
  const most = mostSelected.toLocaleString('en');
  return new AppError(
    'too_many_matched',
    `The filters leave ${matched} rows; one request changes ${most} at most.`,
  );
}
