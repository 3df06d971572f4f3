import createKnex, { type Knex } from 'knex';
import { createLadder } from '../../src/control/migrations/ladder.ts';
import type { TestDatabase } from './database.ts';

/** knex as its own command line has it. @param folder where the ladders are; the project's own by default */
export async function withKnex<T>(
  database: TestDatabase,
  schema: string,
  folder: string | undefined,
  fn: (knex: Knex) => Promise<T>,
): Promise<T> {
  const knex = createKnex({
    client: 'pg',
    connection: database.env()['DATABASE_ADMIN_URL'] ?? '',
    searchPath: [schema],
    pool: { min: 0, max: 1 },
    migrations: { schemaName: schema, migrationSource: createLadder('tenant', folder).source },
  });
  try {
    return await fn(knex);
  } finally {
    await knex.destroy();
  }
}

/** All that is in a schema, knex's tables and sequences included, without its name. */
export async function contentOf(database: TestDatabase, schema: string): Promise<string[]> {
  const rows = await database.superuser<{ line: string }>(
    `with relation as (select c.* from pg_class c where c.relnamespace = $1::text::regnamespace)
     select replace(line, quote_ident($1::text) || '.', '') as line from (
       select format('%s %s persistence=%s options=%s rls=%s forced=%s owner=%s grants=%s', relkind, relname,
         relpersistence, reloptions, relrowsecurity, relforcerowsecurity, relowner::regrole, relacl) as line
       from relation
       union all
       select format('column %s.%s no. %s %s null=%s default=%s identity=%s collation=%s storage=%s', r.relname,
         a.attname, a.attnum, format_type(a.atttypid, a.atttypmod), not a.attnotnull,
         pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attcollation, a.attstorage)
       from relation r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
         left join pg_attrdef d on d.adrelid = r.oid and d.adnum = a.attnum
       union all
       select format('sequence %s %s %s %s', r.relname, s.seqtypid::regtype, s.seqstart, s.seqmax)
       from relation r join pg_sequence s on s.seqrelid = r.oid
       union all
       select format('owned %s by %s.%s', r.relname, o.relname, d.refobjsubid)
       from relation r join pg_depend d on d.objid = r.oid and d.deptype = 'a' join pg_class o on o.oid = d.refobjid
       where r.relkind = 'S'
       union all
       select format('constraint %s %s %s', r.relname, k.conname, pg_get_constraintdef(k.oid))
       from relation r join pg_constraint k on k.conrelid = r.oid
       union all
       select format('index %s valid=%s', pg_get_indexdef(i.indexrelid), i.indisvalid)
       from relation r join pg_index i on i.indrelid = r.oid
       union all
       select format('policy %s %s %s %s', r.relname, p.polname, pg_get_expr(p.polqual, p.polrelid),
         pg_get_expr(p.polwithcheck, p.polrelid))
       from relation r join pg_policy p on p.polrelid = r.oid
       union all
       select format('schema owner=%s grants=%s', nspowner::regrole, nspacl) from pg_namespace where nspname = $1::text
     ) content order by line collate "C"`,
    [schema],
  );
  return rows.map(({ line }) => line);
}

/** What knex's tables of a schema hold. */
export const knexRows = async (database: TestDatabase, schema: string) => ({
  steps: await database.superuser(
    `select id, name, batch, migration_time is not null as timed from "${schema}".knex_migrations order by id`,
  ),
  lock: await database.superuser(`select index, is_locked from "${schema}".knex_migrations_lock`),
});
