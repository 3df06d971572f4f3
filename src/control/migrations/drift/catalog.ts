import type { ReadSession } from '../../../db/index.ts';
import {
  type ColumnRow,
  columnsQuery,
  type ConstraintRow,
  constraintsQuery,
  functionsQuery,
  type GrantRow,
  grantsQuery,
  type IndexRow,
  indexesQuery,
  type OwnRow,
  type PartRow,
  policiesQuery,
  type RelationRow,
  relationsQuery,
  type SchemaRow,
  schemasQuery,
  sequencesQuery,
  triggersQuery,
  typesQuery,
} from './catalog-queries.ts';
import type { Catalog } from './entry.ts';
import { createReading } from './reading.ts';

/**
 * Reads what these schemas are made of, in a dozen queries however many they are. A schema that is not there is left out.
 *
 * @param session of one transaction: until it ends no name can be seen without its schema, so that PostgreSQL writes all of
 *   them out
 */
export async function readCatalogs(
  session: ReadSession,
  names: readonly string[],
): Promise<Map<string, Catalog>> {
  await session.query(`select set_config('search_path', '', true)`);
  const schemas = await session.query<SchemaRow>(schemasQuery, [names]);
  const homes = schemas.map(({ id }) => id);
  const relations = await session.query<RelationRow>(relationsQuery, [homes]);
  const all = relations.map(({ id }) => id);
  const ofKind = (...kinds: RelationRow['kind'][]) =>
    relations.filter(({ kind }) => kinds.includes(kind)).map(({ id }) => id);
  const tables = ofKind('r', 'p', 'f');

  const reading = createReading(schemas, relations);
  const rows = <Row extends object>(text: string, ...values: string[][]) => session.query<Row>(text, values);
  (await rows<ColumnRow>(columnsQuery, tables)).forEach(reading.column);
  const indexes = new Map((await rows<IndexRow>(indexesQuery, tables)).map((index) => [index.id, index]));
  for (const row of await rows<ConstraintRow>(constraintsQuery, tables)) {
    reading.constraint(row, indexes.get(row.index ?? '')?.valid ?? true);
    indexes.delete(row.index ?? '');
  }
  indexes.forEach(reading.index);
  (await rows<PartRow>(policiesQuery, tables)).forEach(reading.policy);
  (await rows<PartRow>(triggersQuery, all)).forEach(reading.trigger); // views have them, too
  (await rows<PartRow>(sequencesQuery, ofKind('S'))).forEach(reading.sequence);
  (await rows<GrantRow>(grantsQuery, all, homes)).forEach(reading.grant);
  (await rows<OwnRow>(functionsQuery, homes)).forEach(reading.function);
  (await rows<OwnRow>(typesQuery, homes)).forEach(reading.type);
  return reading.catalogs;
}
