const tables = `pg_class c join pg_namespace n on n.oid = c.relnamespace and n.nspname = $1 and c.relkind in ('r', 'p')
  and c.relname not in ('knex_migrations', 'knex_migrations_lock')`;

/** Everything that makes up the tables of a schema, one line each, without the schema's own name. */
export const catalogOutline = `
  select replace(line, quote_ident($1) || '.', '') as line from (
    select format('column %s.%s %s %s default %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
      case when a.attnotnull then 'not null' else 'null' end, pg_get_expr(d.adbin, d.adrelid)) as line
    from ${tables} join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    union all
    select pg_get_indexdef(i.indexrelid) from ${tables} join pg_index i on i.indrelid = c.oid
    union all
    select format('constraint %s on %s %s', k.conname, c.relname, pg_get_constraintdef(k.oid))
    from ${tables} join pg_constraint k on k.conrelid = c.oid
    union all
    select format('policy %s on %s for %s using %s check %s', p.polname, c.relname, p.polcmd,
      pg_get_expr(p.polqual, c.oid), pg_get_expr(p.polwithcheck, c.oid))
    from ${tables} join pg_policy p on p.polrelid = c.oid
    union all
    select format('rights on %s: %s', c.relname, c.relacl) from ${tables}
  ) outline order by 1`;
