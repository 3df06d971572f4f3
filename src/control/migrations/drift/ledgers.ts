import type { ReadSession } from '../../../db/index.ts';
import type { Script } from '../script.ts';
import type { Finding, Mend } from './finding.ts';

/** What the ledgers say of one schema. */
export interface Ledgers {
  /** Of control.migration_ledger, in the order of application. The checksum is null from before they were kept. */
  central: readonly { step: string; checksum: string | null }[];
  /** Of knex, inside the schema; undefined: it is not there, or cannot be read. */
  knex: readonly string[] | undefined;
  /** knex's table is there, and is not ours to read. */
  locked: boolean;
  /** What processes are told. */
  served: { version: string; needs: string | null } | undefined;
}

/** Of many schemas in four queries. @throws AppError tenant_migrating when one of them is dropped meanwhile */
export async function readLedgers(
  session: ReadSession,
  schemas: readonly string[],
): Promise<Map<string, Ledgers>> {
  const central = await session.query<{ schema: string; step: string; checksum: string | null }>(
    `select schema_name as schema, migration as step, checksum from control.migration_ledger
     where schema_name = any($1::text[]) order by applied_at, migration`,
    [schemas],
  );
  const versions = await session.query<{ schema: string; version: string; needs: string | null }>(
    `select schema_name as schema, version, needs from control.schema_versions where schema_name = any($1::text[])`,
    [schemas],
  );
  const tables = await session.query<{ schema: string; readable: boolean }>(
    `select n.nspname as schema,
       has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select') as readable
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = any($1::text[]) and c.relname = 'knex_migrations' and c.relkind = 'r'`,
    [schemas],
  );
  const readable = tables.filter((table) => table.readable).map(({ schema }) => schema);
  const each = readable.map(
    (schema) => `select ${literal(schema)} as schema, id, name as step from ${quote(schema)}.knex_migrations`,
  );
  const applied =
    each.length === 0
      ? []
      : await session.query<{ schema: string; step: string }>(
          `${each.join(' union all ')} order by id`,
          [],
          {},
          'knex_migrations.read',
        );
  const [centrals, knexes, served] = [bySchema(central), bySchema(applied), bySchema(versions)];
  return new Map(
    schemas.map((schema) => [
      schema,
      {
        central: (centrals.get(schema) ?? []).map(({ step, checksum }) => ({ step, checksum })),
        knex: readable.includes(schema) ? (knexes.get(schema) ?? []).map(({ step }) => step) : undefined,
        locked: tables.some((table) => table.schema === schema && !table.readable),
        served: served.get(schema)?.[0],
      },
    ]),
  );
}

function bySchema<Row extends { schema: string }>(rows: readonly Row[]): Map<string, Row[]> {
  const grouped = new Map<string, Row[]>();
  for (const row of rows) {
    const known = grouped.get(row.schema);
    if (known === undefined) grouped.set(row.schema, [row]);
    else known.push(row);
  }
  return grouped;
}

/** The steps that a schema is said to have. */
export const stepsOf = ({ central }: Ledgers): string[] => central.map(({ step }) => step);

/**
 * What the ledgers of one schema contradict each other in, and the build.
 *
 * @param proven the schema is made as the central ledger says: what others lack of it may be written there
 */
export function compareLedgers(
  schema: string,
  ledgers: Ledgers,
  scripts: readonly Script[],
  proven: boolean,
): Finding[] {
  const known = new Map(scripts.map((script) => [script.step, script]));
  const findings: Finding[] = [];
  const tell = (finding: Omit<Finding, 'schema' | 'repair'> & { repair?: Finding['repair'] }) =>
    findings.push({ repair: 'by hand', ...finding, schema, words: `${schema}: ${finding.words}` });
  for (const { step, checksum } of ledgers.central) {
    const script = known.get(step);
    if (script === undefined) {
      const words = `${step} has been applied, which this build does not know: tables are not compared`;
      tell({ kind: 'extra', object: 'step', name: step, mend: [], words });
    } else if (checksum !== null && checksum !== script.checksum) {
      tell({
        ...{ kind: 'different', object: 'checksum', name: step, mend: [] },
        ...{ expected: script.checksum, found: checksum },
        words: `${step} has been edited since it was applied`,
      });
    }
  }
  const allKnown = ledgers.central.every(({ step }) => known.has(step));
  const repair = proven && allKnown ? 'safe' : 'by hand';
  for (const finding of knexFindings(ledgers))
    tell(finding.repair === 'by hand' ? finding : { ...finding, repair });
  if (schema !== 'control' && allKnown) {
    const finding = versionFinding(schema, ledgers, known);
    if (finding !== undefined) tell({ ...finding, repair });
  }
  return findings;
}

type Told = Omit<Finding, 'schema' | 'repair'> & { repair?: 'by hand' };

function knexFindings(ledgers: Ledgers): Told[] {
  const central = stepsOf(ledgers);
  const { knex, locked } = ledgers;
  const object = 'ledger';
  if (locked) {
    const words = `tenantry_owner may not read knex's own ledger`;
    return [{ kind: 'different', object, name: 'knex_migrations', repair: 'by hand', mend: [], words }];
  }
  if (knex === undefined) {
    if (central.length === 0) return [];
    const mend = [{ statements: [...knexTables, rewritten(central)] }];
    const words = `knex's own ledger is missing`;
    return [{ kind: 'missing', object, name: 'knex_migrations', expected: central.join(', '), mend, words }];
  }
  const sides = { expected: central.join(', '), found: knex.join(', ') };
  const lacking = central.filter((step) => !knex.includes(step));
  const extra = knex.filter((step) => !central.includes(step));
  const twice = knex.length !== new Set(knex).size;
  const mend: Mend[] = [{ statements: [rewritten(central)] }];
  const told: Told[] = [];
  if (extra.length > 0) {
    const words = `knex's own ledger has ${extra.join(', ')}, of which control.migration_ledger knows nothing`;
    told.push({
      ...{ kind: 'extra', object, name: 'knex_migrations' },
      ...sides,
      repair: 'by hand',
      mend: [],
      words,
    });
  }
  if (twice) {
    const words = `knex's own ledger has a step twice: ${knex.join(', ')}`;
    told.push({
      ...{ kind: 'different', object, name: 'knex_migrations' },
      ...sides,
      repair: 'by hand',
      mend: [],
      words,
    });
  } else if (lacking.length > 0) {
    const words = `knex's own ledger lacks ${lacking.join(', ')}`;
    told.push({ ...{ kind: 'missing', object, name: 'knex_migrations' }, ...sides, mend, words });
  } else if (extra.length === 0 && sides.expected !== sides.found) {
    const words = `knex's own ledger has another order: ${sides.found}; ${sides.expected} is expected`;
    told.push({ ...{ kind: 'different', object, name: 'knex_migrations' }, ...sides, mend, words });
  }
  return told;
}

/** As knex makes them: its own would be made on the next run, and be empty. */
const knexTables = [
  `create table if not exists knex_migrations
     (id serial primary key, name varchar(255), batch integer, migration_time timestamptz)`,
  `create table if not exists knex_migrations_lock (index serial primary key, is_locked integer)`,
  `insert into knex_migrations_lock (is_locked) select 0 where not exists (select from knex_migrations_lock)`,
];

/** Writes these steps in this order; those that are there keep their batch and time. */
function rewritten(steps: readonly string[]): string {
  const names = `array[${steps.map(literal).join(', ')}]::text[]`;
  return `with taken as (
      delete from knex_migrations where name = any(${names}) returning name, batch, migration_time)
    insert into knex_migrations (name, batch, migration_time)
    select step, coalesce(t.batch, (select coalesce(max(batch), 0) + 1 from taken)), coalesce(t.migration_time, now())
    from unnest(${names}) with ordinality as wanted (step, place) left join taken t on t.name = step order by place`;
}

function versionFinding(
  schema: string,
  { central, served }: Ledgers,
  known: ReadonlyMap<string, Script>,
): Told | undefined {
  const steps = central.map(({ step }) => step).toSorted();
  const version = steps.at(-1);
  if (version === undefined) return undefined;
  const needs = steps.findLast((step) => known.get(step)?.contract === true) ?? null;
  if (served?.version === version && served.needs === needs) return undefined;
  const text = (row: { version: string; needs: string | null }) =>
    row.needs === null ? row.version : `${row.version}, which needs ${row.needs}`;
  const expected = text({ version, needs });
  const needed = needs === null ? 'null' : literal(needs);
  const statement = `insert into control.schema_versions (schema_name, version, needs)
    values (${literal(schema)}, ${literal(version)}, ${needed})
    on conflict (schema_name) do update set version = excluded.version, needs = excluded.needs`;
  const there = served === undefined ? 'nothing' : text(served);
  return {
    kind: served === undefined ? 'missing' : 'different',
    object: 'version',
    name: 'schema_versions',
    expected,
    ...(served === undefined ? {} : { found: there }),
    mend: [
      { statements: needs === null || needs === served?.needs ? [statement] : [statement, told(schema)] },
    ],
    words: `processes are told ${there} of its version, ${expected} is expected`,
  };
}

/** A change of its tenants, which every process hears of: older builds stop serving them. */
const told = (schema: string) =>
  `update control.tenants set updated_at = updated_at where schema_name = ${literal(schema)}`;

const literal = (text: string) => `'${text.replaceAll("'", "''")}'`;
const quote = (name: string) => `"${name.replaceAll('"', '""')}"`;
