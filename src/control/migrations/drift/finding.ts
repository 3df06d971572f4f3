import type { CatalogObject } from './entry.ts';

/** One thing that is not as it should be, of one schema. */
export interface Finding {
  schema: string;
  /** `extra`: it is there, and no migration makes it. */
  kind: 'missing' | 'extra' | 'different';
  object: CatalogObject | LedgerObject;
  /** `products.stock`, `products_sku_key`; of ledgers, the step. */
  name: string;
  expected?: string;
  found?: string;
  /** `safe`: no row can be lost or refused by mending it. Otherwise the mend is a suggestion, and may be empty. */
  repair: 'safe' | 'by hand';
  /** In this order, each for itself: what has been done stays done when the next one fails. */
  mend: readonly Mend[];
  /** For people, with the schema: `tenant_acme: the index products_sku_key is missing`. */
  words: string;
}

/**
 * `schema`: one that belongs to nobody, or that is not there. `ledger`: knex's own in the schema, held against the central
 * one. `version`: what processes are told of the schema. `step`: one that this build does not know. `checksum`: of a step that
 * has been edited since it was applied.
 */
export type LedgerObject = 'schema' | 'ledger' | 'version' | 'step' | 'checksum';

/** Unqualified names are of the finding's schema. */
export interface Mend {
  /** One transaction; or, outside of any, one after the other. */
  statements: readonly string[];
  outside?: true;
  /** They hold a constraint against the rows that are there. */
  validates?: true;
  /** The index that they build, outside of a transaction: where that fails, what is left of it is dropped. */
  index?: string;
}

/** What stands behind the schema's name in `words`. */
export const saidOf = ({ schema, words }: Pick<Finding, 'schema' | 'words'>): string =>
  words.slice(schema.length + 2);
