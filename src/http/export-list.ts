import type { Request, Response } from 'express';
import { z } from 'zod';
import type { Page, RowPosition, TenantScope } from '../db/index.ts';
import { AppError } from '../errors.ts';
import { withoutDeadline } from './ending.ts';
import { type ListRequest, only } from './list.ts';
import { type ListRules, querySchema, wantedOf } from './list-query.ts';
import { ndjsonType } from './ndjson.ts';
import { parseQuery } from './validate.ts';

/** Whole lists as newline-delimited JSON, without an end of memory. See docs/api.md. */

const rowsPerRead = 1000;
/** A client that takes nothing for so long is given up, milliseconds. */
const takingMs = 60_000;

/** Asked for by `format=ndjson` or by `Accept`. */
export function wantsExport(req: Request): boolean {
  // Most queries say neither, and Express parses them each time that it is asked for one.
  if (/format|%/.test(req.originalUrl) && 'format' in req.query) return true;
  const accept = req.headers.accept;
  return accept?.includes(ndjsonType) === true && req.accepts(['json', ndjsonType]) === ndjsonType;
}

/**
 * All rows that filters leave, in the order of their ids, which do not change: of what is there all the time nothing is left
 * out and nothing comes twice, whatever is written meanwhile. Each read sees at least what the one before has seen.
 *
 * @throws what the first read throws; after that a failure ends the connection, so that nobody takes a part for the whole
 */
export async function exportList<Row extends { id: string }>(
  req: Request,
  res: Response,
  rules: ListRules,
  scope: TenantScope,
  {
    list,
    mayShowDeleted,
  }: {
    list: (scope: TenantScope, request: ListRequest<Row>) => Promise<Page<Row>>;
    mayShowDeleted: () => void;
  },
): Promise<void> {
  const query = wantedOf(parseQuery(exportSchema(rules), req));
  if (query.deleted !== undefined) mayShowDeleted();
  const { where, filter, deleted } = query as unknown as Pick<
    ListRequest<Row>,
    'where' | 'filter' | 'deleted'
  >;
  const { freshness } = req.context;
  const { fields, include } = query;

  async function read(after: RowPosition | undefined): Promise<Page<Row>> {
    const sort = { field: 'id' as const, direction: 'asc' as const };
    const page = await list(scope, { limit: rowsPerRead, sort, where, filter, deleted, include, after });
    freshness?.require(freshness.seen());
    return page;
  }

  let page = await read(undefined);
  withoutDeadline(req);
  res.statusCode = 200;
  res.setHeader('Content-Type', ndjsonType);
  if (req.method === 'HEAD') {
    res.end();
    return;
  }
  for (;;) {
    await give(res, textOf(page.rows, fields));
    if (page.next === undefined) break;
    page = await read(page.next);
  }
  res.end();
}

function textOf(rows: readonly object[], fields: readonly string[] | undefined): string {
  let text = '';
  for (const row of rows) text += `${JSON.stringify(fields === undefined ? row : only(row, fields))}\n`;
  return text;
}

const schemas = new WeakMap<ListRules, z.ZodObject>();

/** Of a list, what does not choose a page of it. */
function exportSchema(rules: ListRules): z.ZodObject {
  let schema = schemas.get(rules);
  if (schema === undefined) {
    const {
      limit: _limit,
      cursor: _cursor,
      sort: _sort,
      count: _count,
      ...others
    } = querySchema(rules).shape;
    schema = z.strictObject({ ...others, format: z.literal('ndjson').optional() });
    schemas.set(rules, schema);
  }
  return schema;
}

/** Waits until the client has taken enough of what it was given before. @throws AppError client_closed_request */
async function give(res: Response, text: string): Promise<void> {
  if (res.destroyed) throw gone();
  if (text === '' || res.write(text)) return;
  await new Promise<void>((resolve, reject) => {
    const settle = () => {
      clearTimeout(timer);
      res.off('drain', settle).off('close', settle);
      if (res.destroyed) reject(gone());
      else resolve();
    };
    const timer = setTimeout(() => res.destroy(), takingMs);
    res.on('drain', settle).on('close', settle);
  });
}

function gone(): AppError {
  return new AppError('client_closed_request', 'The client has closed the request.');
}
