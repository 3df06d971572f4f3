import { z } from 'zod';
import type { Action } from '../auth/roles.ts';
import type { ColumnType } from '../db/index.ts';
import type { ErrorCode } from '../errors.ts';
import { kindOf } from './field-kind.ts';
import type { ListRules } from './list-query.ts';

/**
 * One description of a resource, from which its validation, its lists, its columns and its documentation are made.
 */
export interface Resource<View, Create, Patch> {
  /** In the plural, as in its path: also its name in the table of roles and in the scopes of keys. */
  name: string;
  view: z.ZodType<View> & z.ZodObject;
  create: z.ZodType<Create>;
  patch: z.ZodType<Patch>;
  list: ListRules;
  /** Fields that may be left out when one is made, and what they are then. */
  defaults?: Readonly<Record<string, unknown>>;
  /** What `create` answers with, where that is more than the view. */
  created?: z.ZodType;
  docs: ResourceDocs;
  /** What a user must be allowed in order to see the resource. Default `read`. */
  readAction?: Action;
  /** What a user must be allowed in order to change it. Undefined: nobody does. */
  writeAction?: Action;
}

export type Usual = 'list' | 'create' | 'get' | 'patch' | 'remove' | 'restore';

/** What the documentation says beyond the schemas. */
export interface ResourceDocs {
  /** Of schemas and operations, such as `ApiKey` and, for `listApiKeys`, `ApiKeys`. */
  one: string;
  many: string;
  /** In words: `API keys`. */
  tag: string;
  /** What they are, in a sentence. */
  about: string;
  /** In a sentence, with its article: `a product`. */
  noun: string;
  /** What its service has. Default: all. */
  usual?: readonly Usual[];
  /** Whether its service has `bulk` as well. Default false. */
  bulk?: boolean;
  /** Of the view, what does not follow from what it was made of. */
  examples: {
    create?: Readonly<Record<string, unknown>>;
    patch?: Readonly<Record<string, unknown>>;
    view?: Readonly<Record<string, unknown>>;
    created?: Readonly<Record<string, unknown>>;
  };
  /** Beyond what each can be refused with anyway. */
  problems?: Partial<Record<Usual, readonly ErrorCode[]>>;
  notes?: Partial<Record<Usual, string>>;
}

export interface ResourceOptions<Fields extends z.ZodRawShape, Default extends keyof Fields & string> {
  name: string;
  /** Its own fields, each as it is stored and shown. `id`, `version`, `createdAt` and `updatedAt` are added. */
  fields: Fields;
  /** Fields that may be left out when one is made, and what they are then. */
  defaults?: { [Field in Default]: z.output<Fields[Field]> };
  /** The first one, descending, is the default of `sort`; each needs an index (tenant_id, field, id). */
  sortable: readonly [Sortable<Fields>, ...Sortable<Fields>[]];
  filterable: readonly (Sortable<Fields> | 'updatedAt')[];
  docs: ResourceDocs;
}

type Sortable<Fields> = (keyof Fields & string) | 'createdAt';

/** What every row has beside the fields of its own. */
export const stamps = {
  version: z.int().min(1).meta({ description: 'One more with each change; in `ETag`.' }),
  createdAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
};
const id = z.guid().toLowerCase();

/** A resource whose rows are what clients send and see. */
export function defineResource<Fields extends z.ZodRawShape, Default extends keyof Fields & string = never>(
  options: ResourceOptions<Fields, Default>,
) {
  const { name, fields, sortable, filterable, docs } = options;
  const defaults = (options.defaults ?? {}) as Partial<Record<string, unknown>>;
  const createFields = Object.fromEntries(
    Object.entries(fields).map(([field, schema]) => [
      field,
      field in defaults ? (schema as z.ZodType).default(defaults[field]) : schema,
    ]),
  ) as {
    [Field in keyof Fields]: Field extends Default ? z.ZodDefault<Fields[Field] & z.ZodType> : Fields[Field];
  };
  const view = z.strictObject({ id, ...fields, ...stamps }).meta({ id: docs.one });
  return {
    name,
    view,
    create: z.strictObject(createFields),
    patch: patchOf(z.strictObject(fields)),
    list: listRules(view, { sortable, filterable }),
    columns: columnsOf(fields),
    defaults,
    docs,
    writeAction: 'write' as const,
  };
}

/** Changes to some of these fields, by RFC 7396: `null` clears one that may be empty. */
export function patchOf<Shape extends z.ZodRawShape>(fields: z.ZodObject<Shape>) {
  return fields
    .partial()
    .refine((changes) => Object.keys(changes).length > 0, 'At least one field is needed.');
}

/** How a view can be sorted, filtered and shown. @throws Error for a field that cannot */
export function listRules<View extends z.ZodRawShape>(
  view: z.ZodObject<View>,
  {
    sortable,
    filterable,
    includable,
  }: {
    sortable: readonly [keyof View & string, ...(keyof View & string)[]];
    filterable: readonly (keyof View & string)[];
    includable?: readonly string[];
  },
): ListRules {
  const shape = view.shape as unknown as Record<string, z.ZodType>;
  const schemaOf = (field: string): z.ZodType => {
    const schema = shape[field];
    if (schema === undefined) throw new Error(`The view has no field ${field}.`);
    return schema;
  };
  const unsorted = sortable.find((field) => kindOf(schemaOf(field)).nullable);
  if (unsorted !== undefined) throw new Error(`${unsorted} may be null, and rows cannot be sorted by it.`);
  return {
    sortable,
    filterable: Object.fromEntries(filterable.map((field) => [field, schemaOf(field)])),
    operators: true,
    includable,
    fields: Object.keys(shape),
    deletable: true,
    estimable: true,
  };
}

/** PostgreSQL's types for fields, by their schemas. */
export function columnsOf<Fields extends z.ZodRawShape>(
  fields: Fields,
): Record<keyof Fields & string, ColumnType> {
  const entries = Object.entries(fields).map(([field, schema]) => [
    field,
    kindOf(schema as z.ZodType).column,
  ]);
  return Object.fromEntries(entries) as Record<keyof Fields & string, ColumnType>;
}
