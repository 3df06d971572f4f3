/**
 * What row level tenancy asks of the database. Each rule is a query of the system catalog that names what breaks it;
 * `$1` is the schema of tenants to look at, null for all of them. The tests hold every table of the ladder to them, and
 * `tenantry doctor --rls` a database that has been worked on by hand.
 */
export interface IsolationRule {
  /** What is wrong with what the query names, and what to do. */
  breach: string;
  query: string;
}

export const appRole = 'tenantry_app';
export const ownerRole = 'tenantry_owner';

/** What the data plane may do outside of the schemas of tenants. A new entry is a decision: no tenant's policy stands behind it. */
export const controlGrants: Readonly<Record<string, readonly Privilege[]>> = {
  'control.tenant_directory': ['SELECT'],
  'control.tenant_epochs': ['SELECT'],
  'control.tenant_limits': ['SELECT'],
  'control.tenant_versions': ['SELECT'],
  // Policies of their own bind these two to the tenant at hand.
  'control.audit_events': ['INSERT'],
  'control.revocations': ['SELECT', 'INSERT', 'UPDATE'],
};
type Privilege = 'SELECT' | 'INSERT' | 'UPDATE';

/** Columns `…_id` of tenant tables that name no row of a table. */
export const looseIds: readonly string[] = [
  'refresh_tokens.family_id',
  // An event outlives what it is about; operators are of the platform.
  'audit_events.resource_id',
  'audit_events.operator_id',
];

/** Tenant tables whose rows stay as they were written. */
const appendOnly: readonly string[] = ['audit_events'];

/** Functions, as `schema.name`, that run as their owner and that the application may call. */
export const knownDefiners: readonly string[] = [];

/** Those included that wait for a tenant: what is wrong with one is found before anybody has it. */
const tenantSchema = `(n.nspname = 'shared' or n.nspname like 'tenant\\_%' or n.nspname like 'warm\\_%')`;
const schemas = `pg_namespace n on ${tenantSchema} and ($1::text is null or n.nspname = $1)`;
const named = `format('%I.%I', n.nspname, c.relname) as name`;
const tables = `pg_class c join ${schemas} and n.oid = c.relnamespace and c.relkind in ('r', 'p')
  and c.relname not in ('knex_migrations', 'knex_migrations_lock')`;
const ofSystem = `(n.nspname ~ '^pg_' or n.nspname = 'information_schema')`;

const columnsOf = (relation: string, numbers: string) => `array(
  select a.attname::text from unnest(${numbers}::smallint[]) with ordinality as k(attnum, place)
  left join pg_attribute a on a.attrelid = ${relation} and a.attnum = k.attnum order by k.place)`;
const literals = (words: readonly string[]) =>
  `array[${words.map((word) => `'${word}'`).join(', ')}]::text[]`;
const role = (name: string) => `(select oid from pg_roles where rolname = '${name}')`;

/** As PostgreSQL writes down the policy that tenantTable() makes. */
export const policyText = `(tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid)`;
const policyLiteral = `'${policyText.replaceAll("'", "''")}'`;

export const isolationRules = {
  'tenant_id is a uuid and not null': {
    breach: 'rows of no tenant can be in the table: make tenant_id a uuid that is not null',
    query: `
      select ${named} from ${tables}
      where not exists (
        select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id'
          and a.atttypid = 'uuid'::regtype and a.attnotnull)`,
  },
  'the primary key is (tenant_id, id)': {
    breach: 'an id of one tenant can stand in the way of another: make (tenant_id, id) the primary key',
    query: `
      select ${named} from ${tables}
      left join pg_constraint p on p.conrelid = c.oid and p.contype = 'p'
      where p.oid is null or ${columnsOf('c.oid', 'p.conkey')} <> '{tenant_id,id}'::text[]`,
  },
  'foreign keys are composite, lead with tenant_id and stay in the schema': {
    breach: 'a row can refer to one of another tenant: make the key (tenant_id, …_id) to (tenant_id, id)',
    query: `
      select ${named} from ${tables}
      join pg_constraint f on f.conrelid = c.oid and f.contype = 'f'
      join pg_class target on target.oid = f.confrelid
      where target.relnamespace <> n.oid or cardinality(f.conkey) < 2
        or (${columnsOf('c.oid', 'f.conkey')})[1] <> 'tenant_id'
        or (${columnsOf('f.confrelid', 'f.confkey')})[1] <> 'tenant_id'
        or not f.convalidated`,
  },
  'every id of another row is a foreign key': {
    breach: 'nothing checks whose row it names: add the foreign key (tenant_id, …_id)',
    query: `
      select format('%I.%I.%I', n.nspname, c.relname, a.attname) as name from ${tables}
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attname like '%\\_id'
        and a.atttypid = 'uuid'::regtype and a.attname not in ('tenant_id', 'deletion_id')
      where not c.relname || '.' || a.attname = any(${literals(looseIds)})
        and not exists (
          select from pg_constraint f where f.conrelid = c.oid and f.contype = 'f'
            and ${columnsOf('c.oid', 'f.conkey')} = array['tenant_id', a.attname]::text[])`,
  },
  'unique indexes lead with tenant_id and leave out deleted rows': {
    breach: 'a value of one tenant is taken for another, or taken by what is deleted: make the index anew',
    query: `
      select format('%I.%I', n.nspname, i.relname) as name from ${tables}
      join pg_index x on x.indrelid = c.oid and x.indisunique and not x.indisprimary
      join pg_class i on i.oid = x.indexrelid
      where coalesce((${columnsOf('c.oid', 'x.indkey')})[1], '') <> 'tenant_id'
        or coalesce(pg_get_expr(x.indpred, c.oid), '') <> '(deleted_at IS NULL)'`,
  },
  'row level security is enabled and forced': {
    breach: 'its policy binds nobody, or not its owner: alter table … enable, and force, row level security',
    query: `select ${named} from ${tables} where not (c.relrowsecurity and c.relforcerowsecurity)`,
  },
  'the one policy is tenant_isolation, for every command and role': {
    breach: 'it has no policy, another one beside it, or one for some commands or roles only',
    query: `
      select ${named} from ${tables}
      where array(select p.polname::text from pg_policy p where p.polrelid = c.oid) <> '{tenant_isolation}'::text[]
        or exists (
          select from pg_policy p
          where p.polrelid = c.oid and (p.polcmd <> '*' or not p.polpermissive or p.polroles <> '{0}'::oid[]))`,
  },
  'the policy compares the bare column with the setting, reading and writing alike': {
    breach: `its policy is not ${policyText}, using and with check: make it anew`,
    query: `
      select distinct ${named} from ${tables} join pg_policy p on p.polrelid = c.oid
      where coalesce(pg_get_expr(p.polqual, c.oid), '') <> ${policyLiteral}
        or coalesce(pg_get_expr(p.polwithcheck, c.oid), '') <> ${policyLiteral}`,
  },
  'tenantry_owner owns the table': {
    breach: 'whoever owns a table can take its policy away: alter table … owner to tenantry_owner',
    query: `select ${named} from ${tables} where pg_get_userbyid(c.relowner) <> '${ownerRole}'`,
  },
  'tenantry_app selects, inserts and, but for events, may update, and nothing else': {
    breach:
      'the application lacks rights, or may do more than it should (DELETE, TRUNCATE, …, or hand rights on)',
    query: `
      select ${named} from ${tables},
        lateral (select array_agg(a.privilege_type) as held, bool_or(a.is_grantable) as passes
          from aclexplode(c.relacl) a where a.grantee = ${role(appRole)}) app
      where app.held is null or app.passes or not app.held @> '{SELECT,INSERT}'
        or not app.held <@ '{SELECT,INSERT,UPDATE}'
        or 'UPDATE' = any(app.held) and c.relname = any(${literals(appendOnly)})`,
  },
  'nobody else has rights on the table': {
    breach: 'others than the application and the owner have rights on it, or on columns of it: revoke them',
    query: `
      select distinct ${named} from ${tables}, lateral (
        select a.grantee from aclexplode(c.relacl) a
        where a.grantee not in (${role(appRole)}, ${role(ownerRole)})
        union all
        select a.grantee from pg_attribute t, aclexplode(t.attacl) a where t.attrelid = c.oid) strangers`,
  },
  'no view, materialized view or sequence hands rows on with the rights of the owner': {
    breach:
      'it can hold or show rows with the rights of its owner: make it a view with (security_invoker = true)',
    query: `
      select ${named} from pg_class c join ${schemas} and n.oid = c.relnamespace
      where c.relkind in ('v', 'm', 'S', 'f') and c.relname not like 'knex\\_%'
        and not (c.relkind = 'v' and coalesce(
          (select option_value::bool from pg_options_to_table(c.reloptions) where option_name = 'security_invoker'),
          false))`,
  },
  'no function runs with the rights of its owner': {
    breach: 'it runs as its owner: make it security invoker',
    query: `
      select format('%I.%I', n.nspname, f.proname) as name
      from pg_proc f join ${schemas} and n.oid = f.pronamespace where f.prosecdef`,
  },
  'the application makes nothing in the schema': {
    breach:
      'tenantry_app may create objects, which it would own: revoke create on schema … from it and from public',
    query: `
      select format('%I', n.nspname) as name from (select 1) one join ${schemas}
      where has_schema_privilege('${appRole}', n.oid, 'create')`,
  },
} as const satisfies Record<string, IsolationRule>;

/** The same for what lies outside of the schemas of tenants, or belongs to the whole database. No parameters. */
export const databaseRules = {
  'the roles are bound by row level security': {
    breach: 'it is a superuser, has BYPASSRLS, or belongs to a role that is or has: no policy binds it',
    query: `
      select r.rolname as name from pg_roles r
      where r.rolname in ('${appRole}', '${ownerRole}') and exists (
        select from pg_roles other
        where pg_has_role(r.oid, other.oid, 'member') and (other.rolsuper or other.rolbypassrls))`,
  },
  'tenantry_app belongs to no role': {
    breach: 'tenantry_app is a member of it, and has or can take its rights: revoke it',
    query: `
      select r.rolname as name from pg_auth_members m join pg_roles r on r.oid = m.roleid
      where m.member = ${role(appRole)}`,
  },
  'tenantry_app owns nothing': {
    breach: 'who owns a thing can change it: give it to tenantry_owner',
    query: `
      select pg_describe_object(d.classid, d.objid, d.objsubid) as name from pg_shdepend d
      where d.refclassid = 'pg_authid'::regclass and d.refobjid = ${role(appRole)} and d.deptype = 'o'
        and d.dbid in (0, (select oid from pg_database where datname = current_database()))`,
  },
  'tenantry_app has no rights outside of tenant schemas but those it needs': {
    breach: 'the application may read or change it, and no policy stands between: revoke it',
    query: `
      select ${named} from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p', 'v', 'm', 'f') and not ${ofSystem} and not ${tenantSchema}
        and has_schema_privilege('${appRole}', n.oid, 'usage')
        and exists (
          select from unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) right_on
          where has_table_privilege('${appRole}', c.oid, right_on)
            and not (n.nspname || '.' || c.relname, right_on) in (${grantPairs()}))`,
  },
  'tenantry_app does not come to schemas that wait for a tenant': {
    breach: "rows could be put there before it is a tenant's: revoke usage on the schema",
    query: `
      select format('%I', n.nspname) as name from pg_namespace n
      where n.nspname like 'warm\\_%' and has_schema_privilege('${appRole}', n.oid, 'usage')`,
  },
  'no view outside of tenant schemas shows rows of tenants': {
    breach: 'it reads a tenant table as its owner: make it a view with (security_invoker = true), or drop it',
    query: `
      select distinct ${named} from pg_class c join pg_namespace n on n.oid = c.relnamespace
      join pg_rewrite w on w.ev_class = c.oid
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_class'::regclass
      join pg_class read on read.oid = d.refobjid
      where c.relkind in ('v', 'm') and not ${tenantSchema}
        and exists (
          select from pg_namespace n where n.oid = read.relnamespace and ${tenantSchema})
        and not (c.relkind = 'v' and coalesce(
          (select option_value::bool from pg_options_to_table(c.reloptions) where option_name = 'security_invoker'),
          false))`,
  },
  'tenantry_app calls no function that runs as its owner': {
    breach: 'it runs with the rights of its owner: revoke execute from public, or make it security invoker',
    query: `
      select format('%I.%I', n.nspname, f.proname) as name from pg_proc f join pg_namespace n on n.oid = f.pronamespace
      where f.prosecdef and not ${ofSystem} and not ${tenantSchema}
        and has_schema_privilege('${appRole}', n.oid, 'usage')
        and has_function_privilege('${appRole}', f.oid, 'execute')
        and not n.nspname || '.' || f.proname = any(${literals(knownDefiners)})`,
  },
} as const satisfies Record<string, IsolationRule>;

function grantPairs(): string {
  return Object.entries(controlGrants)
    .flatMap(([name, rights]) => rights.map((right) => `('${name}', '${right}')`))
    .join(', ');
}
