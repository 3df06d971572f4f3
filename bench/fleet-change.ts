import type { Knex } from 'knex';
import { tenantTable } from '../migrations/tenant-table.ts';

/** What every contender makes in every schema: a table with its indexes, and a column with a default. */
export interface Change {
  table: string;
  /** Of the table just made. */
  index: string;
  /** Of `products`. */
  column: string;
  up(knex: Knex): Promise<void>;
  down(knex: Knex): Promise<void>;
}

/** @param key makes its names different from those of all others; of small letters, digits and underscores */
export function changeOf(key: string): Change {
  const table = `notes_${key}`;
  const column = `rating_${key}`;
  return {
    table,
    column,
    index: `${table}_product_id_idx`,
    async up(knex) {
      await tenantTable(knex, {
        name: table,
        columns: (columns) => {
          columns.uuid('product_id').notNullable();
          columns.text('body').notNullable();
        },
        indexes: { product_id: ['product_id', 'id'] },
      });
      await knex.raw(`alter table products add column ${column} bigint not null default 0`);
    },
    async down(knex) {
      await knex.raw(`alter table products drop column ${column}`);
      await knex.schema.dropTable(table);
    },
  };
}
