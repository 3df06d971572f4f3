/** What a schema is made of, as values that are equal where two schemas mean the same: names of their own are taken out. */
export type Catalog = ReadonlyMap<string, Entry>;

export interface Entry {
  object: CatalogObject;
  /** As people say it: `products`, `products.stock`. Unique among its kind in the schema. */
  name: string;
  /** Key of what it is a part of: nothing is said of it where that is missing. */
  under?: string;
  /** Normalised. For grants the rights, with commas between. */
  definition: string;
  /** The relation it is of, by its own name; absent for what is of the schema itself. */
  table?: string;
  /** Its own name: of the column, the index, the constraint, the policy, … */
  own?: string;
  /** An index that does not answer, a constraint that has not been held against the rows that were there. */
  flaw?: 'invalid' | 'not validated';
  /** Of a grant. */
  grantee?: string;
}

export type CatalogObject =
  | 'owner'
  | 'grant'
  | 'table'
  | 'view'
  | 'materialized view'
  | 'sequence'
  | 'column'
  | 'not null'
  | 'default'
  | 'index'
  | 'constraint'
  | 'row security'
  | 'policy'
  | 'trigger'
  | 'function'
  | 'type';

export const keyOf = ({ object, name }: Pick<Entry, 'object' | 'name'>): string => `${object} ${name}`;
