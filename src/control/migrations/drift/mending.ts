import type { Difference } from './compare.ts';
import { type Catalog, type CatalogObject, type Entry, keyOf } from './entry.ts';
import type { Finding, Mend } from './finding.ts';
import { rightsOf } from './words.ts';

type Mending = Pick<Finding, 'repair' | 'mend'>;
interface Sides {
  expected: Catalog;
  found: Catalog;
}

/**
 * What would mend a difference. Safe is what cannot lose a row nor refuse one that is there: it fails instead, and changes
 * nothing. What is extra is never taken away, but for rights of the application; what somebody has changed on purpose, such
 * as a type, is theirs to decide.
 */
export function mendOf(schema: string, difference: Difference, sides: Sides): Mending {
  return mending[difference.object](difference, sides, schema);
}

const appRole = 'tenantry_app';
const quote = (name = '') => `"${name.replaceAll('"', '""')}"`;
const byHand = (...statements: string[]): Mending => ({
  repair: 'by hand',
  mend: statements.length === 0 ? [] : [{ statements }],
});
const inOne = (...statements: string[]): Mending => ({ repair: 'safe', mend: [{ statements }] });

type Rule = (difference: Difference, sides: Sides, schema: string) => Mending;

const mending: Readonly<Record<CatalogObject, Rule>> = {
  index({ expected, found }) {
    const name = expected?.own ?? found?.own;
    const drop = `drop index concurrently if exists ${quote(name)}`;
    if (expected === undefined) return { repair: 'by hand', mend: [{ outside: true, statements: [drop] }] };
    const create = expected.definition.replace(/^(CREATE (?:UNIQUE )?INDEX) /, '$1 CONCURRENTLY ');
    // A valid one of another definition serves queries: when it may go is for whoever made it to say.
    const repair = found === undefined || found.flaw === 'invalid' ? 'safe' : 'by hand';
    return { repair, mend: [built(found === undefined ? [create] : [drop, create], name)] };
  },
  constraint,
  policy({ expected, found }) {
    const { table, own } = (expected ?? found) as Entry;
    const drop = `drop policy ${quote(own)} on ${quote(table)}`;
    if (expected === undefined) return byHand(drop);
    const create = `create policy ${quote(own)} on ${quote(table)} ${expected.definition}`;
    return found === undefined ? inOne(create) : inOne(drop, create);
  },
  'row security'({ expected, found }) {
    const enabled = (entry: Entry | undefined) => entry?.definition.startsWith('enabled') === true;
    const forced = (entry: Entry | undefined) => entry?.definition.endsWith('forced') === true;
    const verbs = [
      ...(enabled(expected) === enabled(found) ? [] : [enabled(expected) ? 'enable' : 'disable']),
      ...(forced(expected) === forced(found) ? [] : [forced(expected) ? 'force' : 'no force']),
    ];
    const statements = verbs.map(
      (verb) => `alter table ${quote(expected?.table)} ${verb} row level security`,
    );
    return enabled(expected) && forced(expected) ? inOne(...statements) : byHand(...statements);
  },
  grant({ expected, found }, _, schema) {
    const entry = (expected ?? found) as Entry;
    const { lacking, extra } = rightsOf(expected, found);
    const place = entry.table === undefined ? `schema ${quote(schema)}` : quote(entry.table);
    const column = entry.own === undefined ? '' : ` (${quote(entry.own)})`;
    const grantee = entry.grantee === 'public' ? 'public' : quote(entry.grantee);
    const each = (rights: string[]) =>
      rights.map((right) => `${right.replace(' with grant option', '')}${column}`).join(', ');
    const option = lacking.filter((right) => right.endsWith(' with grant option'));
    const plain = lacking.filter((right) => !option.includes(right));
    const statements = [
      ...(extra.length === 0 ? [] : [`revoke ${each(extra)} on ${place} from ${grantee}`]),
      ...(plain.length === 0 ? [] : [`grant ${each(plain)} on ${place} to ${grantee}`]),
      ...(option.length === 0 ? [] : [`grant ${each(option)} on ${place} to ${grantee} with grant option`]),
    ];
    return entry.grantee === appRole ? inOne(...statements) : byHand(...statements);
  },
  default({ expected, found }) {
    const { table, own } = (expected ?? found) as Entry;
    const action = expected === undefined ? 'drop default' : `set default ${expected.definition}`;
    return inOne(`alter table ${quote(table)} alter column ${quote(own)} ${action}`);
  },
  'not null'({ expected, found }) {
    const { table, own } = (expected ?? found) as Entry;
    const alter = `alter table ${quote(table)}`;
    if (expected === undefined) return byHand(`${alter} alter column ${quote(own)} drop not null`);
    // With a validated check the last look at all rows, which nobody may write meanwhile, is left out.
    const check = quote(`${own}_not_null`);
    return byHand(
      `${alter} add constraint ${check} check (${quote(own)} is not null) not valid`,
      `${alter} validate constraint ${check}`,
      `${alter} alter column ${quote(own)} set not null, drop constraint ${check}`,
    );
  },
  column({ expected, found }, sides) {
    const { table, own } = (expected ?? found) as Entry;
    const alter = `alter table ${quote(table)}`;
    if (expected === undefined) return byHand(`${alter} drop column ${quote(own)}`);
    if (found === undefined) return byHand(`${alter} add column ${columnText(expected, sides.expected)}`);
    return byHand(
      `${alter} alter column ${quote(own)} type ${expected.definition} using ${quote(own)}::${expected.definition}`,
    );
  },
  table({ expected, found }, sides) {
    const { table } = (expected ?? found) as Entry;
    if (expected === undefined) return byHand(`drop table ${quote(table)}`);
    if (found !== undefined || expected.definition !== 'table') return byHand();
    const columns = [...sides.expected.values()].filter(
      (entry) => entry.object === 'column' && entry.table === table,
    );
    const listed = columns.map((column) => columnText(column, sides.expected)).join(', ');
    return byHand(`create table ${quote(table)} (${listed})`);
  },
  owner({ expected }, _, schema) {
    const { table, definition } = expected as Entry; // whatever is there has an owner
    const place = table === undefined ? `schema ${quote(schema)}` : `table ${quote(table)}`;
    return byHand(`alter ${place} owner to ${quote(definition)}`);
  },
  view: named('view', ({ definition }, name) => `create view ${name} ${definition}`),
  'materialized view': named('materialized view', ({ definition }, name) => {
    return `create materialized view ${name} ${definition}`;
  }),
  sequence: named('sequence', ({ definition }, name) => `create sequence ${name} ${definition}`),
  trigger({ expected, found }) {
    const { table, own } = (expected ?? found) as Entry;
    return byHand(
      ...(found === undefined ? [] : [`drop trigger ${quote(own)} on ${quote(table)}`]),
      ...(expected === undefined ? [] : [expected.definition.replace(/ \([a-z ]+\)$/, '')]),
    );
  },
  function: ({ expected, found }) =>
    byHand(expected === undefined ? `drop function ${found?.name}` : expected.definition.trim()),
  // One that is there otherwise has columns of it: what becomes of their values nobody can say here.
  type: ({ expected, found }) =>
    byHand(...(expected === undefined ? [`drop type ${quote(found?.name)}`] : [])),
};

function built(statements: string[], index = ''): Mend {
  return { outside: true, statements, index };
}

/** What is made as a whole: anew where it is another one. */
function named(what: string, create: (entry: Entry, name: string) => string): Rule {
  return ({ expected, found }) => {
    const name = quote((expected ?? found)?.name);
    return byHand(
      ...(found === undefined ? [] : [`drop ${what} ${name}`]),
      ...(expected === undefined ? [] : [create(expected, name).replace(/;$/, '')]),
    );
  };
}

function columnText({ name, own, definition }: Entry, catalog: Catalog): string {
  const preset = catalog.get(`default ${name}`)?.definition;
  const strict = catalog.has(`not null ${name}`) ? ' not null' : '';
  return `${quote(own)} ${definition}${preset === undefined ? '' : ` default ${preset}`}${strict}`;
}

function constraint({ expected, found }: Difference, sides: Sides): Mending {
  const { table, own } = (expected ?? found) as Entry;
  const alter = `alter table ${quote(table)}`;
  const drop = `${alter} drop constraint ${quote(own)}`;
  if (expected === undefined) return byHand(drop);
  const { definition } = expected;
  const validate: Mend = { statements: [`${alter} validate constraint ${quote(own)}`], validates: true };
  if (found !== undefined && found.definition === definition) {
    if (found.flaw === 'not validated') return { repair: 'safe', mend: [validate] };
    return {
      repair: 'safe',
      mend: [{ outside: true, statements: [`reindex index concurrently ${quote(own)}`] }],
    };
  }
  const first: Mend[] = found === undefined ? [] : [{ statements: [drop] }];
  const repair = found === undefined ? 'safe' : 'by hand';
  if (/^(CHECK|FOREIGN KEY) /.test(definition)) {
    const add = { statements: [`${alter} add constraint ${quote(own)} ${definition} not valid`] };
    return { repair, mend: [...first, add, validate] };
  }
  // Built beside those who write; then the constraint takes the index over, which is a moment's work.
  const [, kind, columns] = /^(PRIMARY KEY|UNIQUE) \(([^()]*)\)$/.exec(definition) ?? [];
  if (kind === undefined || columns === undefined) {
    return {
      repair: 'by hand',
      mend: [...first, { statements: [`${alter} add constraint ${quote(own)} ${definition}`] }],
    };
  }
  const strict = columns
    .split(', ')
    .every((column) => sides.found.has(`not null ${table}.${plainName(column)}`));
  const left = sides.found.get(keyOf({ object: 'index', name: own ?? '' }));
  const whole = left !== undefined && left.flaw === undefined;
  const same = left?.definition.endsWith(`INDEX ${own} ON ${table} USING btree (${columns})`) === true;
  const building = [
    ...(left === undefined ? [] : [`drop index concurrently if exists ${quote(own)}`]),
    `create unique index concurrently ${quote(own)} on ${quote(table)} (${columns})`,
  ];
  const add: Mend = {
    statements: [`${alter} add constraint ${quote(own)} ${kind} using index ${quote(own)}`],
  };
  return {
    // Somebody else's index of this name, or rows that are looked through while nobody may read them.
    repair: (whole && !same) || (kind === 'PRIMARY KEY' && !strict) ? 'by hand' : repair,
    mend: [...first, ...(whole && same ? [] : [built(building, own)]), add],
  };
}

const plainName = (column: string) =>
  column.startsWith('"') ? column.slice(1, -1).replaceAll('""', '"') : column;
