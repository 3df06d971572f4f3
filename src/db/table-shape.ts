import type { ReadSession } from './session.ts';
import type { ColumnType, Stamped, Table, TableDefinition } from './table-contract.ts';

/** A table as its statements spell it. */
export interface TableShape {
  name: string;
  /** All fields, `id` first. */
  fields: readonly string[];
  /** Those that the definition names. */
  ownFields: readonly string[];
  /** @throws Error for a field that is none, so that nothing else comes into a statement */
  column(field: string): string;
  /** @throws Error, as column() */
  type(field: string): ColumnType;
  /** All fields as a list of `column as "field"`, of the table called so. */
  selection(alias?: string): string;
}

export function tableShape<Row extends Stamped>({ name, columns }: TableDefinition<Row>): TableShape {
  const types: Record<string, ColumnType> = {
    id: 'uuid',
    ...columns,
    version: 'integer',
    createdAt: 'timestamptz',
    updatedAt: 'timestamptz',
  };
  const fields = Object.keys(types);
  const type = (field: string): ColumnType => {
    const known = types[field];
    if (known === undefined) throw new Error(`${name} has no field ${field}`);
    return known;
  };
  const column = (field: string) => {
    type(field);
    return field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  };
  const listed = (alias: string) =>
    fields.map((field) => `${alias}${column(field)} as "${field}"`).join(', ');
  const whole = listed('');
  return {
    name,
    fields,
    ownFields: Object.keys(columns),
    column,
    type,
    selection: (alias) => (alias === undefined ? whole : listed(`${alias}.`)),
  };
}

/** One statement under the name that logs and traces know it by, such as `products.page`. */
export type Ask<Row extends Stamped> = <Result extends object = Row>(
  session: ReadSession,
  operation: keyof Table<Row>,
  text: string,
  values: readonly unknown[],
) => Promise<Result[]>;

/** By what makes them differ: making one takes longer than the rest of the way to PostgreSQL. */
export interface Texts {
  /** @param shape undefined when there are too many of the kind to keep */
  of(shape: string | undefined, make: () => string): string;
}

export function createTexts(): Texts {
  const texts = new Map<string, string>();
  return {
    of(shape, make) {
      const known = shape === undefined ? undefined : texts.get(shape);
      if (known !== undefined) return known;
      const text = make();
      if (shape !== undefined) texts.set(shape, text);
      return text;
    },
  };
}
