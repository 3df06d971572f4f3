/**
 * What row level tenancy asks of every table of a tenant schema. Each rule is a query of the system catalog that
 * names what breaks it; `$1` is the schema.
 */
const tables = `pg_class c join pg_namespace n on n.oid = c.relnamespace and n.nspname = $1 and c.relkind in ('r', 'p')
  and c.relname not in ('knex_migrations', 'knex_migrations_lock')`;

const columnsOf = (relation: string, numbers: string) => `array(
  select a.attname::text from unnest(${numbers}::smallint[]) with ordinality as k(attnum, place)
  left join pg_attribute a on a.attrelid = ${relation} and a.attnum = k.attnum order by k.place)`;

const wanted = (privilege: string) => ['select', 'insert', 'update'].includes(privilege);
const privileges = ['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger'];

export const catalogRules = {
  'tenant_id is a uuid and not null': `
    select c.relname as name from ${tables}
    where not exists (
      select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id'
        and a.atttypid = 'uuid'::regtype and a.attnotnull)`,
  'the primary key is (tenant_id, id)': `
    select c.relname as name from ${tables}
    left join pg_constraint p on p.conrelid = c.oid and p.contype = 'p'
    where p.oid is null or ${columnsOf('c.oid', 'p.conkey')} <> '{tenant_id,id}'::text[]`,
  'foreign keys are composite, lead with tenant_id and stay in the schema': `
    select f.conname as name from ${tables}
    join pg_constraint f on f.conrelid = c.oid and f.contype = 'f'
    join pg_class target on target.oid = f.confrelid
    where target.relnamespace <> n.oid or cardinality(f.conkey) < 2
      or (${columnsOf('c.oid', 'f.conkey')})[1] <> 'tenant_id'
      or (${columnsOf('f.confrelid', 'f.confkey')})[1] <> 'tenant_id'`,
  'unique indexes lead with tenant_id and leave out deleted rows': `
    select i.indexrelid::regclass::text as name from ${tables}
    join pg_index i on i.indrelid = c.oid and i.indisunique and not i.indisprimary
    where coalesce((${columnsOf('c.oid', 'i.indkey')})[1], '') <> 'tenant_id'
      or coalesce(pg_get_expr(i.indpred, c.oid), '') <> '(deleted_at IS NULL)'`,
  'row level security is enabled and forced': `
    select c.relname as name from ${tables} where not (c.relrowsecurity and c.relforcerowsecurity)`,
  'the one policy is tenant_isolation, for every command and role': `
    select c.relname as name from ${tables}
    where array(select p.polname::text from pg_policy p where p.polrelid = c.oid) <> '{tenant_isolation}'::text[]
      or exists (
        select from pg_policy p
        where p.polrelid = c.oid and (p.polcmd <> '*' or not p.polpermissive or p.polroles <> '{0}'::oid[]))`,
  'the policy compares the bare column with the setting, reading and writing alike': `
    select c.relname as name from ${tables} join pg_policy p on p.polrelid = c.oid
    where pg_get_expr(p.polqual, c.oid) is distinct from pg_get_expr(p.polwithcheck, c.oid)
      or p.polqual::text like '%SUBLINK%'
      or pg_get_expr(p.polqual, c.oid) not like '(tenant_id = %current_setting(''app.tenant_id''%, true)%'
      or pg_get_expr(p.polqual, c.oid) ~ '\\m(OR|AND)\\M'`,
  'tenantry_owner owns the table': `
    select c.relname as name from ${tables} where pg_get_userbyid(c.relowner) <> 'tenantry_owner'`,
  'tenantry_app selects, inserts and updates, and nothing else': `
    select c.relname as name from ${tables}
    where ${privileges
      .map((name) => {
        const held = `has_table_privilege('tenantry_app', c.oid, '${name}')`;
        return wanted(name) ? `not ${held}` : held;
      })
      .join(' or ')}`,
  'nobody else has rights on the table': `
    select c.relname as name from ${tables}, aclexplode(c.relacl) a
    where a.grantee not in ('tenantry_app'::regrole, 'tenantry_owner'::regrole)`,
  'no view, materialized view or sequence hands rows on with the rights of the owner': `
    select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relkind in ('v', 'm', 'S', 'f') and c.relname not like 'knex\\_%'
      and not (c.relkind = 'v' and coalesce('security_invoker=true' = any(c.reloptions), false))`,
  'no function runs with the rights of its owner': `
    select f.proname as name from pg_proc f join pg_namespace n on n.oid = f.pronamespace
    where n.nspname = $1 and f.prosecdef`,
} as const;

export type CatalogRule = keyof typeof catalogRules;

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
