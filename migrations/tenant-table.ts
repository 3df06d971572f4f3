import type { Knex } from 'knex';

/**
 * Makes a table of the tenant ladder. Everything that keeps tenants apart is stamped here, so that a migration cannot
 * forget it: `tenant_id` leading every key, composite foreign keys, unique indexes that leave out deleted rows, row
 * level security enabled and forced, the policy, and the grants of the application role.
 *
 * The schema is the connection's search_path: the same migration makes the tables of `shared` and of every
 * `tenant_<slug>`.
 */
export interface TenantTable {
  name: string;
  /** The table's own columns. */
  columns: (table: Knex.CreateTableBuilder) => void;
  /** Each entry, with tenant_id before it, is unique among rows that are not deleted. */
  unique?: readonly (readonly string[])[];
  /** Column → tenant table whose id it holds. A row can only refer to rows of its own tenant. */
  references?: Readonly<Record<string, string>>;
  /** Each entry, with tenant_id before it, becomes an index over rows that are not deleted. Raw column expressions. */
  indexes?: Readonly<Record<string, readonly string[]>>;
  /** Rows stay as they were written: the application role can neither change nor delete them. */
  appendOnly?: boolean;
}

/** The application role. It owns nothing, so that row level security binds it. */
const appRole = 'tenantry_app';
const live = 'where deleted_at is null';

export async function tenantTable(knex: Knex, definition: TenantTable): Promise<void> {
  const { name, columns, unique = [], references = {}, indexes = {}, appendOnly = false } = definition;
  await knex.schema.createTable(name, (table) => {
    table.uuid('tenant_id').notNullable();
    table.uuid('id').notNullable();
    columns(table);
    table.integer('version').notNullable().defaultTo(1);
    table.timestamp('created_at').notNullable().defaultTo(knex.fn.now());
    table.timestamp('updated_at').notNullable().defaultTo(knex.fn.now());
    table.timestamp('deleted_at');
    table.uuid('deletion_id');
    table.primary(['tenant_id', 'id'], { constraintName: `${name}_pkey` });
    for (const [column, target] of Object.entries(references)) {
      table
        .foreign(['tenant_id', column], `${name}_${column}_fkey`)
        .references(['tenant_id', 'id'])
        .inTable(target);
    }
  });
  const statements = [
    `alter table ${name} add constraint ${name}_deletion_check check ((deleted_at is null) = (deletion_id is null))`,
    `create index ${name}_created_at_idx on ${name} (tenant_id, created_at desc, id desc) ${live}`,
    `create index ${name}_deletion_id_idx on ${name} (tenant_id, deletion_id) where deletion_id is not null`,
    ...unique.map(
      (parts) =>
        `create unique index ${name}_${parts.join('_')}_key on ${name} (${['tenant_id', ...parts].join(', ')}) ${live}`,
    ),
    ...Object.entries(indexes).map(
      ([suffix, parts]) =>
        `create index ${name}_${suffix}_idx on ${name} (${['tenant_id', ...parts].join(', ')}) ${live}`,
    ),
    `alter table ${name} enable row level security`,
    `alter table ${name} force row level security`,
    // Without a tenant the setting is missing or, once it has been set on the connection, empty: no row matches.
    `create policy tenant_isolation on ${name}
       using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
       with check (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)`,
    // No DELETE: the application only marks rows as deleted.
    `grant select, insert${appendOnly ? '' : ', update'} on ${name} to ${appRole}`,
  ];
  for (const statement of statements) await knex.raw(statement);
}
