import type { Difference } from './compare.ts';
import type { CatalogObject, Entry } from './entry.ts';

/** A difference in words, without the schema. */
export function wordsOf({ kind, object, expected, found }: Difference): string {
  const entry = (expected ?? found) as Entry; // one of both is there
  const own = ownWords[object];
  if (own !== undefined) return own(entry, expected, found);
  const named = called(entry);
  if (kind === 'missing') return `${named} is missing`;
  if (kind === 'extra') {
    return `${named} is there${found?.flaw === undefined ? '' : `, ${found.flaw}`}, and no migration makes it`;
  }
  if (found?.flaw === 'invalid') return `${named} is invalid: its build has not come to its end`;
  if (expected?.definition === found?.definition) return `${named} is not validated: rows may break it`;
  return lengthy.has(object)
    ? `${named} is not as expected`
    : `${named} is ${found?.definition} there, ${expected?.definition} is expected`;
}

/** What is too long to be told twice in a line; the values are in the finding. */
const lengthy: ReadonlySet<CatalogObject> = new Set(['view', 'materialized view', 'function', 'trigger']);

function called({ object, name, table, own }: Entry): string {
  if (object === 'column') return `column ${name}`;
  const isPart = object === 'constraint' || object === 'policy' || object === 'trigger';
  return isPart ? `the ${object} ${own} of ${table}` : `the ${object} ${name}`;
}

type Sides = (entry: Entry, expected: Entry | undefined, found: Entry | undefined) => string;

const ownWords: Readonly<Partial<Record<CatalogObject, Sides>>> = {
  default: ({ name }, expected, found) => {
    const there = found === undefined ? 'no default' : `the default ${found.definition}`;
    return `column ${name} has ${there} there, ${expected?.definition ?? 'none'} is expected`;
  },
  'not null': ({ name }, expected) =>
    expected === undefined
      ? `column ${name} cannot be null there, and may be`
      : `column ${name} may be null there, and must not be`,
  'row security': ({ name }, expected, found) =>
    `row level security of ${name} is ${found?.definition} there, ${expected?.definition} is expected`,
  owner: ({ name }, expected, found) =>
    `${name} belongs to ${found?.definition} there, ${expected?.definition} is expected`,
  grant: (entry, expected, found) => {
    const { lacking, extra } = rightsOf(expected, found);
    const on = `on ${placeOf(entry)}`;
    return [
      ...(lacking.length === 0 ? [] : [`${entry.grantee} lacks ${lacking.join(', ')} ${on}`]),
      ...(extra.length === 0
        ? []
        : [`${entry.grantee} has ${extra.join(', ')} ${on}, which no migration grants`]),
    ].join('; ');
  },
};

/** Of the schema, of a table, of a column. */
function placeOf({ table, own }: Entry): string {
  if (table === undefined) return 'the schema';
  return own === undefined ? table : `${table}.${own}`;
}

/** Rights that are expected and not there, and the other way round. */
export function rightsOf(
  expected: Entry | undefined,
  found: Entry | undefined,
): { lacking: string[]; extra: string[] } {
  const wanted = expected?.definition.split(', ') ?? [];
  const held = found?.definition.split(', ') ?? [];
  return {
    lacking: wanted.filter((right) => !held.includes(right)),
    extra: held.filter((right) => !wanted.includes(right)),
  };
}
