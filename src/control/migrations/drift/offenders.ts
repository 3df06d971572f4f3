import { type ControlDatabase, schemaName, type Tenant } from '../../../db/index.ts';
import type { Migrator } from '../migrator.ts';
import type { Finding } from './finding.ts';

/** A row that stands against what is expected. */
export interface Offender {
  /** The tenant's slug. */
  tenant: string;
  id: string;
}

/** Named at most. */
const limit = 10;

/**
 * Rows that a constraint or a unique index would refuse. Looked for in the context of each tenant, for policies show
 * tenantry_owner no row otherwise; PostgreSQL itself would not name them. Empty where no row can stand against it.
 */
export async function findOffenders(
  { database, migrator }: { database: ControlDatabase; migrator: Pick<Migrator, 'inSchema'> },
  finding: Finding,
): Promise<Offender[]> {
  const query = offendersQuery(finding);
  if (query === undefined) return [];
  const schema = schemaName(finding.schema);
  const tenants = await database.read((session) =>
    session.query<Pick<Tenant, 'id' | 'slug' | 'isolation'>>(
      `select id, slug, isolation from control.tenants where schema_name = $1 or moved_from = $1 order by created_at, id`,
      [schema],
    ),
  );
  const found: Offender[] = [];
  for (const tenant of tenants) {
    if (found.length >= limit) break;
    const rows = await migrator.inSchema(schema, async (work) =>
      (await work.session({ ...tenant, schema })).query<{ id: string }>(
        `${query} limit ${limit}`,
        [],
        {},
        'drift.offenders',
      ),
    );
    found.push(...rows.map(({ id }) => ({ tenant: tenant.slug, id })));
  }
  return found.slice(0, limit);
}

export const isReference = ({ object, expected = '' }: Pick<Finding, 'object' | 'expected'>): boolean =>
  object === 'constraint' && expected.startsWith('FOREIGN KEY ');

function offendersQuery({ object, name, expected = '' }: Finding): string | undefined {
  if (object === 'index') return ofIndex(expected);
  if (object !== 'constraint') return undefined;
  const table = `"${name.split('.')[0]}"`;
  const [, check] = /^CHECK \((.*)\)$/s.exec(expected) ?? [];
  if (check !== undefined) return `select id from ${table} where not ${check}`;
  const [, unique] = /^(?:PRIMARY KEY|UNIQUE) \(([^()]*)\)$/.exec(expected) ?? [];
  if (unique !== undefined) return duplicates(table, unique);
  const [, own, target, theirs] = /^FOREIGN KEY \((.*?)\) REFERENCES ([^(]+)\((.*?)\)/.exec(expected) ?? [];
  if (own === undefined || target === undefined || theirs === undefined) return undefined;
  return `select r.id from ${table} r where (${of('r', own)}) is not null
    and not exists (select from ${target} t where (${of('t', theirs)}) = (${of('r', own)}))`;
}

function ofIndex(definition: string): string | undefined {
  const parts = /^CREATE UNIQUE INDEX .+? ON (\S+) USING btree \((.+?)\)(?: WHERE (.+))?$/s.exec(definition);
  const [, table, columns, where] = parts ?? [];
  return table === undefined || columns === undefined ? undefined : duplicates(table, columns, where);
}

const duplicates = (table: string, columns: string, where = 'true') =>
  `select unnest(array_agg(id order by id)) as id from ${table} where ${where} group by ${columns} having count(*) > 1`;

const of = (alias: string, columns: string) =>
  columns
    .split(', ')
    .map((column) => `${alias}.${column}`)
    .join(', ');
