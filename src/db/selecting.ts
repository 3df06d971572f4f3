import type { ColumnType, Condition, PageRequest, RowPosition, Selection } from './table-contract.ts';
import type { TableShape } from './table-shape.ts';

/** Which rows a statement is about, as SQL. Fields are known and checked before; values only ever travel as parameters. */
export interface Part {
  /** With a `?` for each value: see `numbered`. */
  text: string;
  values: readonly unknown[];
}

type Fields = Pick<TableShape, 'column' | 'type'>;

/** All that must hold for a row. */
export function partsOf<Row>(
  fields: Fields,
  tenantId: string,
  { where = {}, filter = [], deleted = 'exclude' }: Selection<Row>,
): Part[] {
  return [
    { text: 'tenant_id = ?', values: [tenantId] },
    ...(deleted === 'include' ? [] : [nothing(`deleted_at is ${deleted === 'only' ? 'not ' : ''}null`)]),
    ...Object.entries(where as Record<string, unknown>).map(([field, value]) => equal(fields, field, value)),
    ...filter.map((condition) => conditionPart(fields, condition)),
  ];
}

/** Rows beyond a position, in the order of the list or against it. */
export function beyond<Row>(fields: Fields, { sort, after, before }: PageRequest<Row>): Part[] {
  const from: RowPosition | undefined = after ?? before;
  if (from === undefined) return [];
  const upwards = (sort.direction === 'asc') === (after !== undefined);
  const text = `(${fields.column(sort.field)}, id) ${upwards ? '>' : '<'} (?::${fields.type(sort.field)}, ?::uuid)`;
  return [{ text, values: [from.value, from.id] }];
}

/** How the statement reads: a page before a position is asked for backwards. */
export function order<Row>(fields: Fields, { sort, before }: PageRequest<Row>): string {
  const downwards = (sort.direction === 'desc') !== (before !== undefined);
  return [fields.column(sort.field), 'id'].map((by) => `${by} ${downwards ? 'desc' : 'asc'}`).join(', ');
}

/** What tells texts apart; undefined when there are so many of the kind that none is worth keeping. */
export function shapeOf<Row>({
  where = {},
  filter = [],
  deleted = 'exclude',
}: Selection<Row>): string | undefined {
  if (filter.length > keptConditions) return undefined;
  const equalities = Object.entries(where as Record<string, unknown>).map(([field, value]) =>
    value === null ? `no ${field}` : field,
  );
  const others = filter.map(({ field, operator, value }) =>
    operator === 'null' ? `${field} ${operator} ${String(value)}` : `${field} ${operator}`,
  );
  return [deleted, ...equalities, ...others].join(' ');
}

const keptConditions = 2;
const signs = { eq: '=', ne: 'is distinct from', lt: '<', lte: '<=', gt: '>', gte: '>=' } as const;

function equal({ column, type }: Fields, field: string, value: unknown): Part {
  if (value === null) return nothing(`${column(field)} is null`);
  const cast = type(field) === 'integer' ? `::${comparable('integer')}` : '';
  return { text: `${column(field)} = ?${cast}`, values: [value] };
}

function conditionPart<Row>(fields: Fields, { field, operator, value }: Condition<Row>): Part {
  const column = fields.column(field);
  const type = comparable(fields.type(field));
  if (operator === 'null') return nothing(`${column} is ${value === true ? '' : 'not '}null`);
  if (operator === 'in') return { text: `${column} = any(?::${type}[])`, values: [value] };
  if (operator === 'prefix') return { text: `starts_with(${column}, ?::text)`, values: [value] };
  return { text: `${column} ${signs[operator]} ?::${type}`, values: [value] };
}

/** A number may be larger than the column's type can hold, and is then simply larger than all of them. */
function comparable(type: ColumnType): ColumnType {
  return type === 'integer' ? 'bigint' : type;
}

const nothing = (text: string): Part => ({ text, values: [] });

/** `?` by `$1`, `$2`, …; no text has one that means anything else. */
export function numbered(text: string): string {
  let places = 0;
  return text.replace(/\?/g, () => `$${(places += 1)}`);
}
