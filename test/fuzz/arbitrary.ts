import fc from 'fast-check';
import { type OpenApi, resolve, type Schema } from './document.ts';

/** JSON Schema → arbitrary, of the part of it that the document uses. */

/** Stands for an id until the request is sent: ids are made by the service. */
export type Whose = 'own' | 'foreign' | 'deleted' | 'unknown';
export const idMark = /^@(own|foreign|deleted|unknown):([\w-]+):(\d+)$/;
export const idOf = (resource: string, weights: Record<Whose, number>): fc.Arbitrary<string> =>
  fc
    .tuple(
      fc.oneof(
        ...Object.entries(weights).map(([whose, weight]) => ({ weight, arbitrary: fc.constant(whose) })),
      ),
      fc.nat({ max: 50 }),
    )
    .map(([whose, index]) => `@${whose}:${resource}:${index}`);
/** Texts by which a row says whose it is, whoever changed it last. */
const marked = new Set(['name', 'sku', 'description']);
const mostlyOwn = { own: 20, foreign: 2, deleted: 1, unknown: 1 };

/** Whose id a field holds, by its name. */
const resourceOfField: Record<string, string> = {
  productId: 'products',
  customerId: 'users',
  userId: 'users',
  resourceId: 'products',
};
export const resourceOfPath = (path: string): string => path.split('/')[2] ?? '';

/** Values that mean something to the service and that no schema can tell. */
export interface Hints {
  [field: string]: fc.Arbitrary<unknown> | undefined;
}

export function valuesOf(document: OpenApi, schema: Schema, hints: Hints, name = ''): fc.Arbitrary<unknown> {
  const again = (inner: Schema, at = name) => valuesOf(document, inner, hints, at);
  const hint = hints[name];
  if (hint !== undefined) return hint;
  if (schema.$ref !== undefined) return again(resolve(document, schema as { $ref: string }));
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  if (schema.anyOf !== undefined) return fc.oneof(...schema.anyOf.map((each) => again(each)));
  switch (schema.type) {
    case 'null':
      return fc.constant(null);
    case 'boolean':
      return fc.boolean();
    case 'integer':
    case 'number':
      return numbers(schema);
    case 'array': {
      const { items = {}, minItems = 0, maxItems = 10, uniqueItems = false } = schema;
      const bounds = { minLength: minItems, maxLength: Math.min(maxItems, minItems + 2) };
      return uniqueItems ? fc.uniqueArray(again(items), bounds) : fc.array(again(items), bounds);
    }
    case 'object': {
      const entries = Object.entries(schema.properties ?? {});
      const parts = Object.fromEntries(entries.map(([key, each]) => [key, again(each, key)]));
      return fc.record(parts, { requiredKeys: schema.required ?? [] });
    }
    case 'string':
    case undefined:
    default:
      return texts(schema, name);
  }
}

function numbers({ minimum, maximum }: Schema): fc.Arbitrary<number> {
  const [min, max] = [minimum ?? -1_000_000, maximum ?? 1_000_000];
  const small = Math.min(max, Math.max(min, 0) + 20);
  return fc.oneof(
    fc.integer({ min: Math.max(min, 0), max: small }),
    fc.constantFrom(min, max),
    fc.integer({ min, max }),
  );
}

function texts(
  { format, pattern, minLength = 0, maxLength = 50 }: Schema,
  name: string,
): fc.Arbitrary<string> {
  if (format === 'uuid') return idOf(resourceOfField[name] ?? 'products', mostlyOwn);
  if (format === 'date-time') {
    return fc
      .date({ min: new Date('1990-01-01'), max: new Date('2100-01-01'), noInvalidDate: true })
      .map((date) => date.toISOString());
  }
  if (format === 'email') return fc.stringMatching(/^[a-z]{3,8}\d{0,6}@[a-z]{2,8}\.test$/);
  if (pattern !== undefined) return fc.stringMatching(new RegExp(pattern));
  const most = Math.min(maxLength, minLength + 60);
  // Letters of all kinds but those that cannot be stored: these are hostile.
  const text = fc
    .string({ unit: 'grapheme', minLength, maxLength: most })
    .map((each) =>
      each.trim().length >= minLength && each.length <= maxLength ? each : 'x'.repeat(minLength),
    );
  return marked.has(name) ? text.map((each) => `@marker ${each}`.slice(0, maxLength)) : text;
}
