import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto';
import type { Request, Response } from 'express';
import { z } from 'zod';
import type { PageRequest } from '../db/index.ts';
import { answerJson } from './answer.ts';
import { invalid, parseQuery } from './validate.ts';

/**
 * Lists: keyset pages with opaque cursors. A cursor is signed and bound to tenant, route, sort and filter, so it can be
 * neither made up nor carried elsewhere.
 */
export interface ListRules {
  /** Fields that `sort` takes, with or without a leading minus. The first one, descending, is the default. */
  sortable: readonly [string, ...string[]];
  /** Fields that `filter[field]` takes, for equality. */
  filterable?: Readonly<Record<string, z.ZodType>>;
  /** Related resources that `include` takes. */
  includable?: readonly string[];
}

export interface ListRequest<Row> extends PageRequest<Row> {
  include: readonly string[];
  /** The client asked for the number of all rows. */
  counted: boolean;
}

/** Where a page ended; see db/table.ts. */
export type Position = { value: string | number; id: string };

interface CursorBinding {
  /** Tenant id, or `control`. */
  owner: string;
  path: string;
  sort: string;
  filter: string;
}

/** Where the rows of a list come from. */
export interface ListSource<Row> {
  page(request: ListRequest<Row>): Promise<{ rows: unknown[]; next: Position | undefined }>;
  /** Of all rows that the filters leave. */
  count(where: Partial<Row>): Promise<number>;
}

export interface Lists {
  /**
   * Answers with a page: the envelope and `Link: rel="next"`.
   *
   * @throws AppError invalid_input for a parameter that is not known, or a cursor that is not ours
   */
  serve<Row>(req: Request, res: Response, rules: ListRules, source: ListSource<Row>): Promise<void>;
}

const maxLimit = 100;
const defaultLimit = 20;

/** @param key of at least 256 bits, used for nothing else */
export function createLists(key: KeyObject): Lists {
  /** The binding is signed with the position but not sent: who asks knows it. */
  function sign(payload: string, { owner, path, sort, filter }: CursorBinding): string {
    const bound = JSON.stringify([payload, owner, path, sort, filter]);
    return createHmac('sha256', key).update(bound).digest('base64url');
  }

  function encode(binding: CursorBinding, { value, id }: Position): string {
    const payload = Buffer.from(JSON.stringify([value, id])).toString('base64url');
    return `${payload}.${sign(payload, binding)}`;
  }

  function decode(binding: CursorBinding, cursor: string): Position {
    const [payload = '', signature = '', ...more] = cursor.split('.');
    const expected = Buffer.from(sign(payload, binding));
    const given = Buffer.from(signature);
    if (given.length !== expected.length || !timingSafeEqual(given, expected) || more.length > 0) {
      throw badCursor();
    }
    // Signed by us, so it has the shape we gave it.
    const [value, id] = JSON.parse(Buffer.from(payload, 'base64url').toString()) as [string | number, string];
    return { value, id };
  }

  function read<Row>(req: Request, rules: ListRules): ListRequest<Row> {
    const query = parseQuery(schemaOf(rules), req) as Record<string, string | number | string[] | undefined>;
    const sort = String(query['sort']);
    const filters = Object.entries(query).filter(([name]) => name.startsWith('filter['));
    const where = Object.fromEntries(filters.map(([name, value]) => [name.slice(7, -1), value]));
    const binding = bindingOf(req, sort, where);
    const cursor = query['cursor'];
    return {
      limit: Number(query['limit']),
      sort: {
        field: sort.replace(/^-/, '') as keyof Row & string, // the schema allows sortable fields only
        direction: sort.startsWith('-') ? 'desc' : 'asc',
      },
      where: where as Partial<Row>, // the schema allows filterable fields only
      include: (query['include'] as string[] | undefined) ?? [],
      counted: query['count'] === 'exact',
      ...(cursor === undefined ? {} : { after: decode(binding, String(cursor)) }),
    };
  }

  return {
    async serve<Row>(req: Request, res: Response, rules: ListRules, source: ListSource<Row>): Promise<void> {
      const request = read<Row>(req, rules);
      const { limit, where = {} } = request;
      const { rows, next } = await source.page(request);
      const total = request.counted ? await source.count(where) : undefined;
      const { field, direction } = request.sort;
      const sort = `${direction === 'desc' ? '-' : ''}${field}`;
      const cursor = next === undefined ? null : encode(bindingOf(req, sort, where), next);
      if (cursor !== null) {
        const url = new URL(req.originalUrl, 'http://any');
        url.searchParams.set('cursor', cursor);
        res.setHeader('Link', `<${url.pathname}${url.search}>; rel="next"`);
      }
      answerJson(res, 200, {
        data: rows,
        page: { next: cursor, limit, ...(total === undefined ? {} : { total }) },
      });
    },
  };
}

/** Made once for each list: building a schema costs more than all else that a page needs of the process. */
const schemas = new WeakMap<ListRules, ReturnType<typeof querySchema>>();

function schemaOf(rules: ListRules): ReturnType<typeof querySchema> {
  const schema = schemas.get(rules) ?? querySchema(rules);
  schemas.set(rules, schema);
  return schema;
}

function querySchema({ sortable, filterable = {}, includable = [] }: ListRules) {
  const sorts = sortable.flatMap((field) => [field, `-${field}`]);
  const filters = Object.entries(filterable).map(([field, schema]) => [
    `filter[${field}]`,
    schema.optional(),
  ]);
  return z.strictObject({
    limit: z
      .string()
      .regex(/^\d{1,3}$/, `A whole number from 1 to ${maxLimit} is needed.`)
      .transform(Number)
      .pipe(z.number().min(1).max(maxLimit))
      .default(defaultLimit),
    cursor: z.string().max(2000).optional(),
    sort: z.enum(sorts).default(`-${sortable[0]}`),
    count: z.enum(['exact']).optional(),
    ...(includable.length === 0
      ? {}
      : {
          include: z
            .string()
            .transform((text) => text.split(','))
            .pipe(z.array(z.enum(includable)))
            .optional(),
        }),
    ...Object.fromEntries(filters),
  });
}

function bindingOf(req: Request, sort: string, where: object): CursorBinding {
  return {
    owner: req.context.tenant?.id ?? 'control',
    path: req.baseUrl + req.path.replace(/\/$/, ''),
    sort,
    filter: JSON.stringify(Object.entries(where).toSorted(([a], [b]) => a.localeCompare(b))),
  };
}

function badCursor() {
  const message = 'The cursor is not one of this list. Take page.next of an answer as it is.';
  return invalid([{ pointer: 'cursor', code: 'invalid_cursor', message }]);
}
