import type { ErrorCode, FieldError } from '../errors.ts';
import type { ConstraintTable } from './pg-errors.ts';
import type { ReadSession, WriteSession } from './session.ts';

/** What `defineTable` takes and gives; how it is done does not belong here. */

/** What `tenantTable()` stamps on every table, as the application sees it. */
export interface Stamped {
  id: string;
  /** 1 at first; one more with every change. */
  version: number;
  createdAt: string;
  updatedAt: string;
}

/** PostgreSQL's name of the type, for casts of parameters. */
export type ColumnType = 'uuid' | 'text' | 'integer' | 'bigint' | 'timestamptz' | 'jsonb';

export interface TableDefinition<Row extends Stamped> {
  name: string;
  /** The table's own columns; `priceCents` stands for the column `price_cents`. */
  columns: Record<Exclude<keyof Row & string, keyof Stamped>, ColumnType>;
  /** What a violated constraint means to a client. */
  constraints?: ConstraintTable;
  /** Fields that the audit must not hold, such as hashes. */
  secret?: readonly (keyof Row & string)[];
  /** `none`: changes are no events, because they are audited as something else, which the definition says. */
  audit?: 'none';
}

export type Direction = 'asc' | 'desc';

/** Of a row in a sorted list; rows with equal values are told apart by id. */
export interface RowPosition {
  value: string | number;
  id: string;
}

export const operators = ['eq', 'ne', 'lt', 'lte', 'gt', 'gte', 'in', 'prefix', 'null'] as const;
export type Operator = (typeof operators)[number];

/** What must hold for a field. `in` takes a list, `null` whether the field has no value, the others one value. */
export interface Condition<Row> {
  field: keyof Row & string;
  operator: Operator;
  value: string | number | boolean | readonly (string | number)[];
}

/** Which rows are meant. */
export interface Selection<Row> {
  /** Rows equal in all these fields. */
  where?: Partial<Row> | undefined;
  /** Rows for which all of this holds, too. */
  filter?: readonly Condition<Row>[] | undefined;
  /** Default `exclude`. Rows that are deleted say so in `deletedAt` and `deletionId`. */
  deleted?: 'exclude' | 'include' | 'only' | undefined;
}

export interface PageRequest<Row> extends Selection<Row> {
  /** 1 to 100. */
  limit: number;
  sort: { field: keyof Row & string; direction: Direction };
  /** Rows that come after this one. */
  after?: RowPosition | undefined;
  /** Rows that come before this one: the last of them, in the order of the list. Not together with `after`. */
  before?: RowPosition | undefined;
}

export interface Page<Row> {
  rows: Row[];
  /** To be given as `after` for the next page; undefined at the end. */
  next: RowPosition | undefined;
  /** To be given as `before` for the previous page; undefined at the beginning, and where lists go forward only. */
  prev?: RowPosition | undefined;
}

/** A deletion, named so that exactly what it removed can be brought back. */
export interface Deletion {
  deletionId: string;
}

export interface FindOptions {
  /** Until the unit of work ends. */
  lock?: boolean | undefined;
  /** As in a Selection. */
  deleted?: Selection<unknown>['deleted'];
  /** Versions the row may have, all by default. @throws AppError precondition_failed */
  versions?: Versions | undefined;
}

/** Why a row could not be written, with pointers into it. */
export interface Refusal {
  code: ErrorCode;
  errors: readonly FieldError[];
}

export type Versions = readonly number[];

export type Own<Row extends Stamped> = Omit<Row, keyof Stamped>;
/** A field that is undefined stays as it is. */
export type Changes<Row extends Stamped> = { [Field in keyof Own<Row>]?: Own<Row>[Field] | undefined };

export interface Table<Row extends Stamped> {
  find(session: ReadSession, id: string): Promise<Row | undefined>;
  /** @throws AppError not_found for an unknown, deleted or foreign id, in the same words */
  require(session: ReadSession, id: string, options?: FindOptions): Promise<Row>;
  /**
   * Those of `ids` that exist, in the order of their ids. With `lock` they are locked, in that order, until the unit of
   * work ends, so that two units never wait for each other.
   */
  findMany(session: ReadSession, ids: readonly string[], options?: { lock?: boolean }): Promise<Row[]>;
  /** Rows equal in all these fields, oldest first. The caller knows that they are few. */
  findWhere(session: ReadSession, where: Partial<Row>): Promise<Row[]>;
  /** Rows whose `field` is one of `values`, oldest first: one statement for the children of a whole page. */
  findIn(session: ReadSession, field: keyof Row & string, values: readonly string[]): Promise<Row[]>;
  /** Keyset pagination; rows with equal sort values are told apart by id. */
  page(session: ReadSession, request: PageRequest<Row>): Promise<Page<Row>>;
  count(session: ReadSession, where?: Partial<Row>, more?: Omit<Selection<Row>, 'where'>): Promise<number>;
  /** As `count`, exact up to a thousand rows; beyond that what PostgreSQL's planner expects. */
  estimate(session: ReadSession, selection?: Selection<Row>): Promise<number>;
  /** The id is a new uuid v7. */
  insert(session: WriteSession, values: Own<Row>): Promise<Row>;
  /**
   * In one statement, with one event for each thousand rows.
   *
   * @param values up to 10,000
   * @param options `skipTaken`: rows that meet another one, there already or among `values`, are left out, which takes a
   *   third longer; else they are refused as by insert()
   * @returns ids in the order given, new uuids v7; null for what was left out, and `taken` tells what that means
   */
  insertBatch(
    session: WriteSession,
    values: readonly Own<Row>[],
    options?: { skipTaken?: boolean },
  ): Promise<{ ids: (string | null)[]; taken: Refusal }>;
  /** All or nothing, in the order given; statements of up to 1,000 rows. */
  insertMany(session: WriteSession, values: readonly Own<Row>[]): Promise<Row[]>;
  /**
   * @param versions those that the caller knows, all by default
   * @throws AppError not_found; precondition_failed for a row of another version, which takes a statement more to tell
   */
  update(session: WriteSession, id: string, changes: Changes<Row>, versions?: Versions): Promise<Row>;
  /** Each id gets its own value of one field, in one statement. Ids that are not there are left out. */
  updateEach<Field extends keyof Own<Row> & string>(
    session: WriteSession,
    field: Field,
    values: ReadonlyMap<string, Row[Field]>,
  ): Promise<void>;
  /**
   * The same change to all rows selected that are there, in one statement, with one event for each thousand of them.
   *
   * @param most rows at most; the caller has seen to it that there are not more
   * @returns how many were changed
   */
  updateSelected(
    session: WriteSession,
    selection: Omit<Selection<Row>, 'deleted'>,
    changes: Changes<Row>,
    most: number,
  ): Promise<number>;
  /** As updateSelected: they are deleted as one deletion, which is undefined when there were none. */
  softDeleteSelected(
    session: WriteSession,
    selection: Omit<Selection<Row>, 'deleted'>,
    most: number,
  ): Promise<{ count: number; deletion: Deletion | undefined }>;
  /** Notes the present time in a field. No change: neither version nor audit know of it. A row that is gone stays so. */
  touch(session: WriteSession, id: string, field: keyof Row & string): Promise<void>;
  /** @throws AppError not_found, also for what is deleted already; precondition_failed, as update() */
  softDelete(session: WriteSession, id: string, versions?: Versions): Promise<Deletion>;
  /** Deletes what is still there of the rows equal in all these fields, as a part of another deletion. */
  softDeleteWhere(session: WriteSession, where: Partial<Row>, deletion: Deletion): Promise<void>;
  /**
   * Brings a row back, with all rows of the table that went in the same deletion; one that is not deleted is returned as
   * it is.
   *
   * @throws AppError not_found, or what `constraints` says when places have been taken meanwhile: each of them is told, with
   *   the pointer of the field, under the row's id where it is another row
   */
  restore(session: WriteSession, id: string): Promise<{ row: Row; deletion: Deletion | undefined }>;
  /** Brings back what went with a deletion. */
  restoreWith(session: WriteSession, deletion: Deletion): Promise<void>;
}
