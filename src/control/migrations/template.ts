/** A migration to begin with: docs/migrations.md tells what it may say. */
export const emptyMigration = `import type { Knex } from 'knex';

export async function up(knex: Knex): Promise<void> {
  await knex.raw('select 1');
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('select 1');
}
`;
