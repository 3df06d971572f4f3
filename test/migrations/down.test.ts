import { describe, expect, it } from '@jest/globals';
import createKnex, { type Knex } from 'knex';
import { createLadder, type LadderName } from '../../src/control/migrations/ladder.ts';
import { type TestDatabase, useDatabase } from '../support/database.ts';

const database = useDatabase();

/** Every migration of the ladder in this schema, in one transaction: newest first down, oldest first up. */
async function downAndUp(ladder: LadderName, schema: string, between: () => Promise<void>): Promise<void> {
  const { source } = createLadder(ladder);
  const knex = createKnex({
    client: 'pg',
    connection: database.env()['DATABASE_ADMIN_URL'] ?? '',
    searchPath: [schema],
    pool: { min: 0, max: 1 },
  });
  const steps = await source.getMigrations([]);
  const each = async (names: string[], direction: 'up' | 'down') => {
    for (const name of names) {
      const migration: Knex.Migration = await source.getMigration(name);
      await knex.transaction(async (trx) => migration[direction]?.(trx));
    }
  };
  try {
    await each(steps.toReversed(), 'down');
    await between();
    await each(steps, 'up');
  } finally {
    await knex.destroy();
  }
}

/** All that a migration makes, as text: columns, constraints, indexes, policies, row level security, grants, views. */
async function catalogOf(db: TestDatabase, schema: string): Promise<string[]> {
  const rows = await db.superuser<{ line: string }>(
    `with relation as (
       select c.* from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where n.nspname = $1 and c.relname !~ '^knex_'
     )
     select line from (
       select format('%s %s rls=%s forced=%s owner=%s grants=%s', relkind, relname, relrowsecurity,
         relforcerowsecurity, relowner::regrole, relacl) as line from relation
       union all
       select format('column %s.%s %s null=%s default=%s', r.relname, a.attname, format_type(a.atttypid, a.atttypmod),
         not a.attnotnull, pg_get_expr(d.adbin, d.adrelid))
       from relation r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
         left join pg_attrdef d on d.adrelid = r.oid and d.adnum = a.attnum
       union all
       select format('constraint %s %s %s', r.relname, k.conname, pg_get_constraintdef(k.oid))
       from relation r join pg_constraint k on k.conrelid = r.oid
       union all
       select format('index %s', pg_get_indexdef(i.indexrelid)) from relation r join pg_index i on i.indrelid = r.oid
       union all
       select format('policy %s %s %s %s', r.relname, p.polname, pg_get_expr(p.polqual, p.polrelid),
         pg_get_expr(p.polwithcheck, p.polrelid))
       from relation r join pg_policy p on p.polrelid = r.oid
       union all
       select format('view %s %s', relname, pg_get_viewdef(oid)) from relation where relkind = 'v'
       union all
       select format('schema %s %s', nspname, nspacl) from pg_namespace where nspname = $1
     ) catalog order by line`,
    [schema],
  );
  return rows.map(({ line }) => line);
}

describe.each([
  ['control', 'control'],
  ['tenant', 'shared'],
] as const)('the ladder %s, in the schema %s', (ladder, schema) => {
  it('goes down to nothing and up to the same again', async () => {
    const before = await catalogOf(database, schema);
    expect(before.length).toBeGreaterThan(20);
    await downAndUp(ladder, schema, async () => {
      const left = await catalogOf(database, schema);
      expect(left).toEqual([expect.stringMatching(`^schema ${schema}`)]);
    });
    expect(await catalogOf(database, schema)).toEqual(before);
  });
});
