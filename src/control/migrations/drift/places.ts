import { type ReadSession, schemaOf } from '../../../db/index.ts';
import { notFound } from '../../../errors.ts';
import type { Finding } from './finding.ts';

/** Which schemas there should be, and which there are. */
export interface Places {
  /** To be compared: `shared`, those of tenants by age, those that wait for a tenant. They are there. */
  schemas: string[];
  findings: Finding[];
}

interface Row {
  source: 'namespace' | 'tenant' | 'warm' | 'ledger';
  schema: string;
  slug: string | null;
  isolation: string | null;
  status: string | null;
  movedFrom: string | null;
}

/** One statement: a tenant that comes or goes meanwhile is there with its schema, or not at all. */
const placesQuery = `
  select 'namespace' as source, nspname as schema, null as slug, null as isolation, null as status,
    null as "movedFrom", null::timestamptz as at
  from pg_namespace where nspname = 'shared' or nspname like 'tenant\\_%'
  union all
  select 'tenant', schema_name, slug, isolation, status, moved_from, created_at from control.tenants
  union all
  select 'warm', schema_name, null, null, null, null, made_at from control.warm_schemas
  union all
  select distinct on (schema_name) 'ledger', schema_name, null, null, null, null, null::timestamptz
  from control.migration_ledger where schema_name <> 'control'
  order by at, slug, schema`;

/**
 * @param slugs of the tenants whose places are looked at; undefined: all
 * @throws AppError not_found for a slug that no tenant has
 */
export async function readPlaces(
  session: ReadSession,
  slugs: readonly string[] | undefined,
): Promise<Places> {
  const rows = await session.query<Row>(placesQuery);
  const of = (source: Row['source']) => rows.filter((row) => row.source === source);
  const existing = new Set(of('namespace').map(({ schema }) => schema));
  const serving = of('tenant').filter(({ status }) => status !== 'purging' && status !== 'purged');
  for (const slug of slugs ?? []) {
    if (!serving.some((tenant) => tenant.slug === slug)) throw notFound(`There is no tenant ${slug}.`);
  }
  const chosen = serving.filter(({ slug }) => slugs === undefined || slugs.includes(slug ?? ''));
  const own = chosen.filter(({ isolation }) => isolation === 'schema').map(({ schema }) => schema);
  const all = slugs === undefined;
  const wanted = [
    ...(all || chosen.some(({ isolation }) => isolation === 'shared') ? ['shared'] : []),
    ...own,
    ...(all ? of('warm').map(({ schema }) => schema) : []),
  ];
  const known = new Set(['shared', ...rows.flatMap(belonging)]);
  const strangers = all ? [...existing].filter((schema) => !known.has(schema)) : [];
  const forgotten = all
    ? of('ledger').filter(({ schema }) => !known.has(schema) && !existing.has(schema))
    : [];
  return {
    schemas: wanted.filter((schema) => existing.has(schema)),
    findings: [
      ...wanted.filter((schema) => !existing.has(schema)).map((schema) => missing(schema)),
      ...strangers.map((schema) => orphan(schema)),
      ...forgotten.map(({ schema }) => leftInLedger(schema)),
    ],
  };
}

/** The schemas that a row speaks for, even where they are not compared: left by a move, on the way in or out. */
function belonging({ source, schema, slug, status, movedFrom }: Row): string[] {
  if (source === 'warm') return [schema];
  if (source !== 'tenant' || status === 'purged') return [];
  const target = status === 'moving' && slug !== null ? [schemaOf('schema', slug)] : [];
  return [schema, ...(movedFrom === null ? [] : [movedFrom]), ...target];
}

function missing(schema: string): Finding {
  const way = schema === 'shared' ? 'tenantry migrate up' : 'restore it from a backup, or purge its tenant';
  const words = `${schema}: the schema is missing: ${way}`;
  return { schema, kind: 'missing', object: 'schema', name: schema, repair: 'by hand', mend: [], words };
}

function orphan(schema: string): Finding {
  const words = `${schema}: the schema belongs to no tenant`;
  const mend = [{ statements: [`drop schema "${schema.replaceAll('"', '""')}" cascade`] }];
  return { schema, kind: 'extra', object: 'schema', name: schema, repair: 'by hand', mend, words };
}

function leftInLedger(schema: string): Finding {
  const words = `${schema}: control.migration_ledger has rows of a schema that is not there`;
  const name = `'${schema.replaceAll("'", "''")}'`;
  const mend = [{ statements: [`delete from control.migration_ledger where schema_name = ${name}`] }];
  return { schema, kind: 'extra', object: 'ledger', name: schema, repair: 'by hand', mend, words };
}
