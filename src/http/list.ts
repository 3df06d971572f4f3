import type { KeyObject } from 'node:crypto';
import type { Request, Response } from 'express';
import type { Page, PageRequest, RowPosition, Selection } from '../db/index.ts';
import { answerJson } from './answer.ts';
import { createCursors, type Cursor, type CursorBinding } from './cursor.ts';
import { type ListQuery, listQueryOf, type ListRules } from './list-query.ts';

export type { ListRules } from './list-query.ts';

/** Lists: keyset pages in both directions, with opaque cursors. */
export interface ListRequest<Row> extends PageRequest<Row> {
  include: readonly string[];
}

/** Where the rows of a list come from. */
export interface ListSource<Row> {
  page(request: ListRequest<Row>): Promise<Page<object>>;
  /** Of all rows that the filters leave. */
  count(where: Partial<Row>, more: Omit<Selection<Row>, 'where'> & { estimated?: boolean }): Promise<number>;
}

export interface Lists {
  /**
   * Answers with a page: the envelope, and links to the pages beside it.
   *
   * @throws AppError invalid_input for a parameter that is not known, or a cursor that is not ours; forbidden for
   *   deleted rows, by `mayShowDeleted`
   */
  serve<Row>(
    req: Request,
    res: Response,
    rules: ListRules,
    source: ListSource<Row>,
    mayShowDeleted?: () => void,
  ): Promise<void>;
}

/** @param key of at least 256 bits, used for nothing else */
export function createLists(key: KeyObject): Lists {
  const cursors = createCursors(key);

  return {
    async serve<Row>(
      req: Request,
      res: Response,
      rules: ListRules,
      source: ListSource<Row>,
      mayShowDeleted = () => {},
    ): Promise<void> {
      const query = listQueryOf(rules, req);
      if (query.deleted !== undefined) mayShowDeleted();
      const binding = bindingOf(req, query);
      const cursor = query.cursor === undefined ? undefined : cursors.decode(binding, query.cursor);
      const { freshness } = req.context;
      if (cursor !== undefined) freshness?.require(cursor.seen);
      const { where, filter, deleted } = query as unknown as Selected<Row>; // the schema knows no other fields
      const sort = {
        field: query.sort.replace(/^-/, '') as keyof Row & string, // the schema allows sortable fields only
        direction: query.sort.startsWith('-') ? ('desc' as const) : ('asc' as const),
      };
      const page = await source.page({
        ...{ limit: query.limit, sort, where, filter, deleted },
        include: query.include,
        ...placeOf(cursor),
      });
      const counted =
        query.count &&
        (await source.count(where, { filter, deleted, estimated: query.count === 'estimated' }));
      const link = (way: Cursor['way'], at: RowPosition | undefined) =>
        at === undefined ? null : cursors.encode(binding, { ...at, way, seen: freshness?.seen() ?? '' });
      const next = link('after', page.next);
      const prev = 'prev' in page ? link('before', page.prev) : undefined;
      const links = [...linkTo(req, 'next', next), ...linkTo(req, 'prev', prev)];
      if (links.length > 0) res.setHeader('Link', links.join(', '));
      answerJson(res, 200, {
        data: query.fields === undefined ? page.rows : page.rows.map((row) => only(row, query.fields ?? [])),
        page: {
          next,
          ...(prev === undefined ? {} : { prev }),
          limit: query.limit,
          ...(query.count === 'exact' ? { total: counted } : {}),
          ...(query.count === 'estimated' ? { estimate: counted } : {}),
        },
      });
    },
  };
}

interface Selected<Row> {
  where: Partial<Row>;
  filter: Selection<Row>['filter'];
  deleted: Selection<Row>['deleted'];
}

/** These fields of what is shown. */
export function only(row: object, fields: readonly string[]): object {
  const of = row as Record<string, unknown>;
  return Object.fromEntries(fields.filter((field) => field in of).map((field) => [field, of[field]]));
}

function placeOf(cursor: Cursor | undefined): Pick<PageRequest<unknown>, 'after' | 'before'> {
  if (cursor === undefined) return {};
  const { way, value, id } = cursor;
  return { [way]: { value, id } };
}

/** Nothing in such an address has to be written in another way. */
const plain = /^[\w/?&=.-]*$/;

/** The request again, at another place. */
function linkTo(req: Request, rel: 'next' | 'prev', cursor: string | null | undefined): string[] {
  if (cursor === null || cursor === undefined) return [];
  return [`<${withCursor(req.originalUrl, cursor)}>; rel="${rel}"`];
}

/** URL takes as long as all else that a link needs, so it is asked only where there is something for it to do. */
function withCursor(address: string, cursor: string): string {
  if (plain.test(address) && !address.includes('cursor=')) {
    return `${address}${address.includes('?') ? '&' : '?'}cursor=${cursor}`;
  }
  const url = new URL(address, 'http://any');
  url.searchParams.set('cursor', cursor);
  return url.pathname + url.search;
}

function bindingOf(req: Request, { sort, where, filter, deleted }: ListQuery): CursorBinding {
  const conditions = [
    ...Object.entries(where).map(([field, value]) => [field, 'eq', value]),
    ...filter.map(({ field, operator, value }) => [field, operator, value]),
    ...(deleted === undefined ? [] : [['', deleted]]),
  ];
  return {
    owner: req.context.tenant?.id ?? 'control',
    path: req.baseUrl + req.path.replace(/\/$/, ''),
    sort,
    filter: JSON.stringify(conditions.map((each) => JSON.stringify(each)).toSorted()),
  };
}
