import { AppError, notFound } from '../errors.ts';
import { beyond, numbered, order, type Part, partsOf, shapeOf } from './selecting.ts';
import { type ReadSession, tenantOf } from './session.ts';
import type { FindOptions, PageRequest, RowPosition, Selection, Stamped, Table } from './table-contract.ts';
import type { Ask, TableShape, Texts } from './table-shape.ts';

export type Reading<Row extends Stamped> = Pick<
  Table<Row>,
  'require' | 'findMany' | 'findWhere' | 'findIn' | 'page' | 'count' | 'estimate'
> & { find(session: ReadSession, id: string, options?: FindOptions): Promise<Row | undefined> };

const deletionStamps = 'deleted_at as "deletedAt", deletion_id as "deletionId"';
/** So many are counted one by one where an estimate is asked for. */
const countedExactly = 1000;

interface Explained {
  'QUERY PLAN': [{ Plan: { 'Plan Rows': number } }];
}

/** The statements of a table that change nothing. */
export function readingOf<Row extends Stamped>(shape: TableShape, texts: Texts, ask: Ask<Row>): Reading<Row> {
  const { name, column, type } = shape;

  /** @param text made of the conditions of `parts`; `kind` tells it from others of the operation */
  function select<Result extends object = Row>(
    session: ReadSession,
    [operation, kind]: readonly [keyof Table<Row>, string | undefined],
    parts: readonly Part[],
    text: (conditions: string) => string,
    more: readonly unknown[] = [],
  ): Promise<Result[]> {
    const make = () => numbered(text(parts.map((part) => part.text).join(' and ')));
    const values = [...parts.flatMap((part) => part.values), ...more];
    const key = kind === undefined ? undefined : `${operation} ${kind}`;
    return ask<Result>(session, operation, texts.of(key, make), values);
  }

  const shown = (deleted: Selection<Row>['deleted']) =>
    deleted === undefined || deleted === 'exclude'
      ? shape.selection()
      : `${shape.selection()}, ${deletionStamps}`;

  async function find(
    session: ReadSession,
    id: string,
    { lock = false, deleted, versions }: FindOptions = {},
  ): Promise<Row | undefined> {
    const parts = [...partsOf(shape, tenantOf(session), { deleted }), { text: 'id = ?', values: [id] }];
    const text = (conditions: string) =>
      `select ${shown(deleted)} from ${name} where ${conditions}${lock ? ' for update' : ''}`;
    const [row] = await select(session, ['find', `${lock} ${deleted}`], parts, text);
    if (row !== undefined && versions?.includes(row.version) === false) {
      throw new AppError('precondition_failed', 'The resource has another version by now.');
    }
    return row;
  }

  function rowsOf(session: ReadSession, request: PageRequest<Row>): Promise<Row[]> {
    const { sort, limit, after, before, deleted } = request;
    const way = after !== undefined ? 'after' : before !== undefined ? 'before' : 'first';
    const selected = shapeOf(request);
    const kind = selected === undefined ? undefined : [sort.direction, sort.field, way, selected].join(' ');
    const parts = [...partsOf(shape, tenantOf(session), request), ...beyond(shape, request)];
    const text = (conditions: string) =>
      `select ${shown(deleted)} from ${name} where ${conditions} order by ${order(shape, request)} limit ?`;
    // One more than is shown tells whether there are more.
    return select(session, ['page', kind], parts, text, [limit + 1]);
  }

  return {
    find,

    async require(session, id, options) {
      const row = await find(session, id, options);
      if (row === undefined) throw notFound();
      return row;
    },

    findMany: (session, ids, options) =>
      ask(
        session,
        'findMany',
        `select ${shape.selection()} from ${name} where tenant_id = $1 and deleted_at is null
           and id = any($2::uuid[]) order by id${options?.lock ? ' for update' : ''}`,
        [tenantOf(session), ids],
      ),

    findWhere: (session, where) =>
      select(
        session,
        ['findWhere', shapeOf({ where })],
        partsOf(shape, tenantOf(session), { where }),
        (conditions) => `select ${shape.selection()} from ${name} where ${conditions} order by id`,
      ),

    findIn: (session, field, values) =>
      ask(
        session,
        'findIn',
        `select ${shape.selection()} from ${name} where tenant_id = $1 and deleted_at is null
           and ${column(field)} = any($2::${type(field)}[]) order by id`,
        [tenantOf(session), values],
      ),

    async page(session, request) {
      const { limit, sort, after, before } = request;
      const found = await rowsOf(session, request);
      const more = found.length > limit;
      const rows = found.slice(0, limit);
      if (before !== undefined) rows.reverse();
      const positionOf = (row: Row | undefined): RowPosition | undefined =>
        row && { value: row[sort.field] as string | number, id: row.id };
      const [first, last] = [positionOf(rows[0]), positionOf(rows.at(-1))];
      // Where a page was come to from there is something; it may be gone, or the page empty.
      if (before !== undefined) return { rows, next: last ?? before, prev: more ? first : undefined };
      return {
        rows,
        next: more ? last : undefined,
        prev: after === undefined ? undefined : (first ?? after),
      };
    },

    async count(session, where, more) {
      const wanted = { where, ...more };
      const parts = partsOf(shape, tenantOf(session), wanted);
      const text = (conditions: string) => `select count(*) as n from ${name} where ${conditions}`;
      const [row] = await select<{ n: number }>(session, ['count', shapeOf(wanted)], parts, text);
      return row?.n ?? 0;
    },

    async estimate(session, wanted = {}) {
      const parts = partsOf(shape, tenantOf(session), wanted);
      const some = (conditions: string) =>
        `select count(*) as n from (select from ${name} where ${conditions} limit ?) as first`;
      const [row] = await select<{ n: number }>(session, ['estimate', shapeOf(wanted)], parts, some, [
        countedExactly + 1,
      ]);
      const counted = row?.n ?? 0;
      if (counted <= countedExactly) return counted;
      const plan = (conditions: string) => `explain (format json) select from ${name} where ${conditions}`;
      const [planned] = await select<Explained>(session, ['estimate', undefined], parts, plan);
      return Math.max(counted, planned?.['QUERY PLAN'][0].Plan['Plan Rows'] ?? 0);
    },
  };
}
