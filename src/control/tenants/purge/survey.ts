import { schemaName, type SchemaName, type Tenant } from '../../../db/index.ts';
import type { Migrator } from '../../migrations/migrator.ts';
import { findHoldingTables, type HoldingTable, measure } from './tables.ts';

/** What a tenant has, anywhere. */
export interface Holding {
  table: HoldingTable;
  rows: number;
  /** An estimate. */
  bytes: number;
}

/** Schemas that are looked through in one transaction, which holds locks on all of their tables. */
const schemasAtOnce = 10;

/**
 * Looks through every table of every schema. In the context of the tenant, for row level security is forced on the owner,
 * too, and would otherwise show nothing.
 */
export async function survey(migrator: Migrator, tenant: Pick<Tenant, 'id'>): Promise<Holding[]> {
  const inContext = { id: tenant.id, slug: '', isolation: 'shared', schema: schemaName('shared') } as const;
  const tables = await migrator.inSchema(inContext.schema, async (work) =>
    findHoldingTables(await work.session()),
  );
  const schemas: SchemaName[] = [...new Set(tables.map(({ schema }) => schema))];
  const found: Holding[] = [];
  for (let first = 0; first < schemas.length; first += schemasAtOnce) {
    const some = new Set(schemas.slice(first, first + schemasAtOnce));
    const these = tables.filter(({ schema }) => some.has(schema));
    const sizes = await migrator.inSchema(inContext.schema, async (work) =>
      measure(await work.session(inContext), these, tenant.id),
    );
    found.push(...these.map((table, index) => ({ table, ...(sizes[index] ?? { rows: 0, bytes: 0 }) })));
  }
  return found;
}
