import type { Request } from 'express';
import { z } from 'zod';
import type { Condition, Operator, Selection } from '../db/index.ts';
import { kindOf } from './field-kind.ts';
import { parseQuery } from './validate.ts';

/** What the parameters of a list may be, and what they mean. */
export interface ListRules {
  /** Fields that `sort` takes, with or without a leading minus. The first one, descending, is the default. */
  sortable: readonly [string, ...string[]];
  /** Fields that `filter[field]` takes, for equality. */
  filterable?: Readonly<Record<string, z.ZodType>> | undefined;
  /** Whether these fields take `filter[field][operator]` as well; which ones follows from the field. Default false. */
  operators?: boolean | undefined;
  /** Related resources that `include` takes. */
  includable?: readonly string[] | undefined;
  /** Fields that `fields` takes. Default: it is not taken. */
  fields?: readonly string[] | undefined;
  /** Whether `deleted` is taken. Default false. */
  deletable?: boolean | undefined;
  /** Whether `count` takes `estimated` beside `exact`. Default false. */
  estimable?: boolean | undefined;
}

/** The parameters of one request. */
export interface ListQuery {
  limit: number;
  cursor: string | undefined;
  sort: string;
  count: 'exact' | 'estimated' | undefined;
  include: readonly string[];
  fields: readonly string[] | undefined;
  where: Readonly<Record<string, unknown>>;
  filter: readonly Condition<Record<string, unknown>>[];
  deleted: Selection<unknown>['deleted'];
}

export const maxLimit = 100;
export const defaultLimit = 20;
const maxListed = 100;

/** Queries of a list that are kept, and characters of one. A longer one is parsed each time. */
const [maxKept, maxLength] = [200, 300];

interface Form {
  schema: ReturnType<typeof makeSchema>;
  /** By the text of the query. */
  understood: Map<string, ListQuery>;
}

/** Made once for each list: building a schema costs more than all else that a page needs of the process. */
const forms = new WeakMap<ListRules, Form>();

function formOf(rules: ListRules): Form {
  const form = forms.get(rules) ?? { schema: makeSchema(rules), understood: new Map() };
  forms.set(rules, form);
  return form;
}

/** Parses a query, given as it is, into what `wantedOf` understands. Any parameter that is not known is refused. */
export function querySchema(rules: ListRules): Form['schema'] {
  return formOf(rules).schema;
}

/**
 * What a request wants of a list. The same few queries are asked again and again, and there are dozens of parameters that one
 * of them may have.
 *
 * @throws AppError invalid_input
 */
export function listQueryOf(rules: ListRules, req: Request): Readonly<ListQuery> {
  const { schema, understood } = formOf(rules);
  const at = req.originalUrl.indexOf('?');
  const text = at < 0 ? '' : req.originalUrl.slice(at);
  const known = understood.get(text);
  if (known !== undefined) return known;
  const query = wantedOf(parseQuery(schema, req));
  if (text.length <= maxLength && query.cursor === undefined) {
    if (understood.size === maxKept) understood.clear();
    for (const part of [query, ...Object.values(query)]) Object.freeze(part); // it is everybody's from now on
    understood.set(text, query);
  }
  return query;
}

/** @param query as querySchema() gives it */
export function wantedOf(query: Record<string, unknown>): ListQuery {
  const where: Record<string, unknown> = {};
  const filter: Condition<Record<string, unknown>>[] = [];
  for (const [name, value] of Object.entries(query)) {
    const [, field, operator = 'eq'] = /^filter\[(\w+)\](?:\[(\w+)\])?$/.exec(name) ?? [];
    if (field === undefined || value === undefined) continue;
    if (operator === 'eq' && !(field in where)) where[field] = value;
    else {
      filter.push({
        field,
        operator: operator as Operator, // the schema knows no others
        value: value as Condition<unknown>['value'],
      });
    }
  }
  return {
    limit: query['limit'] as number,
    cursor: query['cursor'] as string | undefined,
    sort: query['sort'] as string,
    count: query['count'] as ListQuery['count'],
    include: (query['include'] as string[] | undefined) ?? [],
    fields: query['fields'] as string[] | undefined,
    where,
    filter,
    deleted: query['deleted'] as ListQuery['deleted'],
  };
}

function makeSchema(rules: ListRules) {
  const { sortable, includable = [], fields = [], deletable = false, estimable = false } = rules;
  const sorts = sortable.flatMap((field) => [field, `-${field}`]);
  return z.strictObject({
    limit: z
      .string()
      .regex(/^\d{1,3}$/, `A whole number from 1 to ${maxLimit} is needed.`)
      .transform(Number)
      .pipe(z.number().min(1).max(maxLimit))
      .default(defaultLimit),
    cursor: z.string().max(2000).optional(),
    sort: z.enum(sorts).default(`-${sortable[0]}`),
    count: z.enum(estimable ? ['exact', 'estimated'] : ['exact']).optional(),
    ...(includable.length === 0 ? {} : { include: listOf(z.enum(includable)) }),
    ...(fields.length === 0 ? {} : { fields: listOf(z.enum(fields)) }),
    ...(deletable ? { deleted: z.enum(['exclude', 'include', 'only']).optional() } : {}),
    ...filtersOf(rules),
  });
}

/** By parameter. */
export function filtersOf({ filterable = {}, operators = false }: ListRules): Record<string, z.ZodType> {
  const filters: Record<string, z.ZodType> = {};
  for (const [field, schema] of Object.entries(filterable)) {
    const kind = kindOf(schema);
    const one = kind.text;
    filters[`filter[${field}]`] = one.optional();
    if (!operators) continue;
    for (const operator of kind.operators) filters[`filter[${field}][${operator}]`] = valueOf(operator, one);
  }
  return filters;
}

function valueOf(operator: Operator, one: z.ZodType): z.ZodType {
  if (operator === 'null') return z.stringbool({ truthy: ['true'], falsy: ['false'] }).optional();
  if (operator === 'prefix') return z.string().min(1).max(200).optional();
  return operator === 'in' ? listOf(one) : one.optional();
}

/** Values with commas between them; `\,` is a comma within a value. */
function listOf<Item extends z.ZodType>(item: Item) {
  return z
    .string()
    .min(1)
    .transform((text) => text.split(/(?<!\\),/).map((part) => part.replaceAll(String.raw`\,`, ',')))
    .pipe(z.array(item as z.ZodType<z.output<Item>, string>).max(maxListed))
    .optional();
}
