import { z } from 'zod';
import type { oas31 } from 'zod-openapi';
import type { Operator } from '../../db/index.ts';
import { type FieldKind, kindOf } from '../field-kind.ts';
import { defaultLimit, type ListRules, maxLimit } from '../list-query.ts';
import type { Parameter } from './operation.ts';

/** The parameters of lists, from the same rules by which they are parsed. */

type Schema = oas31.SchemaObject;

/** How an operator reads, after the name of its field. */
const words: Readonly<Record<Operator, string>> = {
  eq: 'is this',
  ne: 'is not this',
  lt: 'is less',
  lte: 'is less or this',
  gt: 'is more',
  gte: 'is more or this',
  in: 'is one of these; `\\,` is a comma within a value',
  prefix: 'begins with this, in these letters',
  null: 'is empty, or with `false` is not',
};

/** Of a list. */
export function listParameters(rules: ListRules): Parameter[] {
  const { sortable, includable = [] } = rules;
  return [
    parameter('limit', 'How many rows a page has.', {
      type: 'integer',
      minimum: 1,
      maximum: maxLimit,
      default: defaultLimit,
    }),
    parameter('cursor', 'Where the page begins: `page.next` or `page.prev` of an answer, as it was given.', {
      type: 'string',
      maxLength: 2000,
    }),
    parameter('sort', 'By this field; with a minus, from the largest.', {
      type: 'string',
      enum: sortable.flatMap((field) => [field, `-${field}`]),
      default: `-${sortable[0]}`,
    }),
    parameter('count', countWords(rules), {
      type: 'string',
      enum: rules.estimable ? ['exact', 'estimated'] : ['exact'],
    }),
    ...(includable.length === 0
      ? []
      : [listed('include', 'With these, too.', { type: 'string', enum: [...includable] })]),
    ...oneParameters(rules),
    ...filterParameters(rules),
    parameter(
      'format',
      'All rows instead of a page, a line of JSON each, as `application/x-ndjson`; `Accept` says the same. Not with `limit`, `cursor`, `sort` or `count`.',
      { type: 'string', enum: ['ndjson'] },
    ),
  ];
}

/** Those that mean something for one resource, too. */
export function oneParameters({ fields = [], deletable = false }: ListRules): Parameter[] {
  const states = ['exclude', 'include', 'only'];
  return [
    ...(fields.length === 0
      ? []
      : [listed('fields', 'These fields only; all by default.', { type: 'string', enum: [...fields] })]),
    ...(deletable
      ? [
          parameter('deleted', 'What about deleted ones? For owners and admins.', {
            type: 'string',
            enum: states,
          }),
        ]
      : []),
  ];
}

/** Of a list, and of what is done to all that filters leave. */
export function filterParameters({ filterable = {}, operators = false }: ListRules): Parameter[] {
  return Object.entries(filterable).flatMap(([field, schema]) => {
    const kind = kindOf(schema);
    const one = valueSchema(kind);
    const also = operators ? kind.operators : [];
    return [
      parameter(`filter[${field}]`, `\`${field}\` ${words.eq}.`, one),
      ...also.map((operator) => filterBy(field, operator, one)),
    ];
  });
}

/** Nothing between commas is nothing. */
function notEmpty(one: Schema): Schema {
  return one.type === 'string' && one.enum === undefined ? { ...one, minLength: one.minLength ?? 1 } : one;
}

function filterBy(field: string, operator: Operator, one: Schema): Parameter {
  const name = `filter[${field}][${operator}]`;
  const description = `\`${field}\` ${words[operator]}.`;
  if (operator === 'in') return listed(name, description, notEmpty(one));
  if (operator === 'null') return parameter(name, description, { type: 'boolean' });
  if (operator === 'prefix')
    return parameter(name, description, { type: 'string', minLength: 1, maxLength: 200 });
  return parameter(name, description, one);
}

function valueSchema({ column, text }: FieldKind): Schema {
  // As far as a number can be told from a text; it need not be one that the field can have.
  if (column === 'integer' || column === 'bigint') {
    return { type: 'integer', minimum: -999_999_999_999_999, maximum: 999_999_999_999_999 };
  }
  const { $schema: _, description: _words, ...schema } = z.toJSONSchema(text, { io: 'input' });
  if (schema.format !== undefined) delete schema.pattern;
  return schema as Schema;
}

function countWords({ estimable = false }: ListRules): string {
  const estimate = ' `estimated`: as PostgreSQL supposes, in `page.estimate`, at no cost.';
  return `\`exact\`: adds \`page.total\`, of all rows that the filters leave.${estimable ? estimate : ''}`;
}

function parameter(name: string, description: string, schema: Schema): Parameter {
  return { in: 'query', name, description, schema };
}

/** Values with commas between them. */
function listed(name: string, description: string, items: Schema): Parameter {
  const schema: Schema = { type: 'array', items, minItems: 1, maxItems: 100 };
  return { in: 'query', name, description, schema, style: 'form', explode: false };
}
