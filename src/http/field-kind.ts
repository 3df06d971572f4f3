import { z } from 'zod';
import type { ColumnType, Operator } from '../db/index.ts';

/** What a field's schema says about it beyond validation: its column, and how it can be compared. */
export interface FieldKind {
  column: ColumnType;
  /** Of `filter[field][operator]`. */
  operators: readonly Operator[];
  nullable: boolean;
  /** A value of the field as it stands in a query. */
  text: z.ZodType;
}

const ordered = ['lt', 'lte', 'gt', 'gte'] as const;
const wholeNumber = () =>
  z
    .string()
    .regex(/^-?\d{1,15}$/, 'A whole number is needed.')
    .transform(Number);
/** In any time zone, though it is shown in UTC. */
const time = () => z.iso.datetime({ offset: true });
const largestInteger = 2_147_483_647;

/** @throws Error for a schema that no column is known for */
export function kindOf(schema: z.ZodType): FieldKind {
  const { core, nullable } = bare(schema);
  const more: readonly Operator[] = nullable ? ['null'] : [];
  const kind = (column: ColumnType, operators: readonly Operator[], text = core): FieldKind => ({
    column,
    operators: [...operators, ...more],
    nullable,
    text,
  });
  if (core instanceof z.ZodEnum) return kind('text', ['eq', 'ne', 'in']);
  if (core instanceof z.ZodNumber) {
    const fits =
      (core.maxValue ?? Infinity) <= largestInteger && (core.minValue ?? -Infinity) >= -largestInteger;
    return kind(fits ? 'integer' : 'bigint', ['eq', 'ne', ...ordered, 'in'], wholeNumber());
  }
  const format = core instanceof z.ZodStringFormat ? core.format : undefined;
  if (format === 'datetime') return kind('timestamptz', ['eq', ...ordered], time());
  if (format === 'guid' || format === 'uuid') return kind('uuid', ['eq', 'ne', 'in']);
  if (core instanceof z.ZodString || core instanceof z.ZodStringFormat) {
    return kind('text', ['eq', 'ne', 'in', 'prefix']);
  }
  throw new Error('No column is known for a field of this schema.');
}

/** Without what makes it optional, nullable or gives it a default. */
function bare(schema: z.ZodType): { core: z.ZodType; nullable: boolean } {
  let [core, nullable] = [schema, false];
  while (
    core instanceof z.ZodNullable ||
    core instanceof z.ZodOptional ||
    core instanceof z.ZodDefault ||
    core instanceof z.ZodReadonly
  ) {
    nullable ||= core instanceof z.ZodNullable;
    core = core.unwrap() as z.ZodType;
  }
  return { core, nullable };
}
