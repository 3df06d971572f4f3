import type {
  ColumnRow,
  ConstraintRow,
  GrantRow,
  IndexRow,
  OwnRow,
  PartRow,
  RelationRow,
  SchemaRow,
} from './catalog-queries.ts';
import { type Entry, keyOf } from './entry.ts';
import { unqualified } from './unqualified.ts';

/** Rows of the catalogs, each told once, become entries of the schemas that they are of. */
export function createReading(schemas: readonly SchemaRow[], relations: readonly RelationRow[]) {
  const catalogs = new Map<string, Map<string, Entry>>(schemas.map(({ schema }) => [schema, new Map()]));
  const homes = new Map(schemas.map(({ id, schema }) => [id, schema]));
  const places = new Map(relations.map((row) => [row.id, row]));

  const put = (home: string, make: (plain: (text: string) => string) => Entry) => {
    const schema = homes.get(home);
    if (schema === undefined) return;
    const entry = make((text) => unqualified(text, schema));
    catalogs.get(schema)?.set(keyOf(entry), entry);
  };
  type Part = Omit<Entry, 'table' | 'name'>;
  /** Of a relation. `as`: what its name is made of, beside the relation's. */
  const part = (
    id: string,
    as: string,
    make: (plain: (text: string) => string, table: RelationRow) => Part,
  ) => {
    const table = places.get(id);
    if (table === undefined) return;
    put(table.home, (plain) => {
      const under = keyOf({ object: relationKinds[table.kind], name: table.name });
      return { under, table: table.name, name: `${table.name}${as}`, ...make(plain, table) };
    });
  };
  const partOf =
    (object: 'policy' | 'trigger') =>
    ({ relation, name, definition }: PartRow) =>
      part(relation, `.${name}`, (plain) => ({ object, own: name, definition: plain(definition) }));
  const ofSchema =
    (object: 'function' | 'type') =>
    ({ home, name, definition }: OwnRow) =>
      put(home, (plain) => ({ object, name: plain(name), definition: plain(definition) }));

  function column({ relation, name, type, notNull, default: expression }: ColumnRow): void {
    part(relation, `.${name}`, (plain) => ({ object: 'column', own: name, definition: plain(type) }));
    const aspect = (object: 'not null' | 'default', definition: string) =>
      part(relation, `.${name}`, (plain, table) => ({
        object,
        own: name,
        under: keyOf({ object: 'column', name: `${table.name}.${name}` }),
        definition: plain(definition),
      }));
    if (notNull) aspect('not null', 'not null');
    if (expression !== null) aspect('default', expression);
  }

  function grant({ id, ofSchema: whole, column: own, grantee, rights: definition }: GrantRow): void {
    const object = 'grant';
    if (whole) put(id, () => ({ object, name: `the schema to ${grantee}`, grantee, definition }));
    else {
      const as = `${own === null ? '' : `.${own}`} to ${grantee}`;
      part(id, as, () => ({ object, grantee, definition, ...(own === null ? {} : { own }) }));
    }
  }

  for (const { id, owner } of schemas) {
    put(id, () => ({ object: 'owner', name: 'the schema', definition: owner }));
  }
  for (const row of relations) {
    const { id, home, kind, name, owner } = row;
    const object = relationKinds[kind];
    if (object !== 'sequence') {
      put(home, (plain) => ({
        object,
        name,
        table: name,
        definition: plain(row.definition ?? tableText(row)),
      }));
    }
    part(id, '', () => ({ object: 'owner', definition: owner }));
    if (object === 'table') part(id, '', () => ({ object: 'row security', definition: securityText(row) }));
  }

  return {
    catalogs,
    column,
    grant,
    index: ({ relation, name, definition, valid }: IndexRow) => {
      const home = places.get(relation);
      if (home === undefined) return;
      put(home.home, (plain) => ({
        ...{ object: 'index', name, own: name, definition: plain(definition) },
        ...{ table: home.name, under: keyOf({ object: 'table', name: home.name }) },
        ...(valid ? {} : { flaw: 'invalid' }),
      }));
    },
    constraint: ({ relation, name, definition, validated }: ConstraintRow, valid: boolean) =>
      part(relation, `.${name}`, (plain) => ({
        ...{ object: 'constraint', own: name, definition: plain(definition.replace(/ NOT VALID$/, '')) },
        ...(valid ? {} : { flaw: 'invalid' }),
        ...(validated ? {} : { flaw: 'not validated' }),
      })),
    policy: partOf('policy'),
    trigger: partOf('trigger'),
    sequence({ relation, definition }: PartRow): void {
      const { home = '', name = '' } = places.get(relation) ?? {};
      put(home, (plain) => ({ object: 'sequence', name, table: name, definition: plain(definition) }));
    },
    function: ofSchema('function'),
    type: ofSchema('type'),
  };
}

const relationKinds = {
  r: 'table',
  p: 'table',
  f: 'table',
  v: 'view',
  m: 'materialized view',
  S: 'sequence',
} as const;
const tableKinds: Readonly<Record<string, string>> = { p: 'partitioned table', f: 'foreign table' };

const tableText = ({ kind, unlogged }: RelationRow) =>
  `${unlogged ? 'unlogged ' : ''}${tableKinds[kind] ?? 'table'}`;

function securityText({ secured, forced }: RelationRow): string {
  if (secured) return forced ? 'enabled and forced' : 'enabled';
  return forced ? 'disabled, but forced' : 'disabled';
}
