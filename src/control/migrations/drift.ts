import type { Clock } from '../../clock.ts';
import type { ControlDatabase, ReadSession } from '../../db/index.ts';
import { AppError } from '../../errors.ts';
import { readCatalogs } from './drift/catalog.ts';
import { compare } from './drift/compare.ts';
import type { Catalog } from './drift/entry.ts';
import type { Finding } from './drift/finding.ts';
import { compareLedgers, type Ledgers, readLedgers, stepsOf } from './drift/ledgers.ts';
import { readPlaces } from './drift/places.ts';
import { createTemplates, type Templates } from './drift/template.ts';
import { createLadder } from './ladder.ts';
import { leaseHolder } from './lease.ts';
import type { Script } from './script.ts';

export type { Finding, Mend } from './drift/finding.ts';

/** Holds the schemas of the fleet against what the migrations make, each at its own version. */
export interface Drift {
  /** Reads alone, but for templates that are rolled back. @throws AppError not_found, illegal_state before `migrate up` */
  find(options?: DriftOptions): Promise<DriftReport>;
}

export interface DriftOptions {
  /** Slugs of the tenants whose schemas are looked at; default all, and all that belongs to no tenant. */
  tenants?: readonly string[] | undefined;
  onProgress?: (progress: { done: number; total: number }) => void;
}

export interface DriftReport {
  /** By schema, in the order of migration. */
  findings: Finding[];
  /** How many were looked at. */
  schemas: number;
  /** How many are at which version. */
  versions: { version: string; schemas: number }[];
  /** A fleet's run is under way: what it is at may be told as a difference. */
  runUnderWay: boolean;
  durationMs: number;
}

export interface DriftParts {
  database: ControlDatabase;
  /** Of the role tenantry_owner. */
  adminUrl: string;
  clock: Clock;
  /** Where the ladders are; the project's own by default. */
  folder?: string;
}

/** Schemas that are read at once: some ten thousand rows. */
const batchSize = 100;
/** A schema that is migrated while it is read is read again. */
const looks = 3;

export function createDrift({ database, adminUrl, clock, folder }: DriftParts): Drift {
  /** In the order of the names; undefined for what did not stand still for long enough. What is dropped meanwhile is left out. */
  async function look(schemas: readonly string[]): Promise<Map<string, State | undefined>> {
    const states = new Map<string, State | 'gone' | undefined>(schemas.map((schema) => [schema, undefined]));
    for (let n = 0; n < looks; n += 1) {
      const open = schemas.filter((schema) => states.get(schema) === undefined);
      if (open.length === 0) break;
      // Nothing is written, but this is one transaction, for which readCatalogs() can set the path.
      const seen = await database.write((session) => readStates(session, open)).catch(unlessDropped);
      for (const [schema, state] of seen) states.set(schema, state);
    }
    return new Map([...states].filter((entry): entry is [string, State | undefined] => entry[1] !== 'gone'));
  }

  async function find({ tenants, onProgress }: DriftOptions = {}): Promise<DriftReport> {
    const startedMs = clock.monotonicMs();
    const ladder = createLadder('tenant', folder);
    const scripts = await ladder.scripts();
    const controlScripts = await createLadder('control', folder).scripts();
    const templates = createTemplates(adminUrl, ladder);
    const { places, control, holder } = await database.read(async (session) => {
      await requireLedgers(session);
      return {
        places: await readPlaces(session, tenants),
        control: tenants === undefined ? (await readLedgers(session, ['control'])).get('control') : undefined,
        holder: await leaseHolder(session),
      };
    });
    const findings = control === undefined ? [] : compareLedgers('control', control, controlScripts, true);
    findings.push(...places.findings);
    const versions = new Map<string, number>();
    const total = places.schemas.length;
    for (let done = 0; done < total; done += batchSize) {
      for (const [schema, state] of await look(places.schemas.slice(done, done + batchSize))) {
        findings.push(
          ...(state === undefined ? [restless(schema)] : await judge(schema, state, scripts, templates)),
        );
        const version = (state && stepsOf(state.ledgers).toSorted().at(-1)) ?? 'none';
        versions.set(version, (versions.get(version) ?? 0) + 1);
      }
      onProgress?.({ done: Math.min(done + batchSize, total), total });
    }
    return {
      findings,
      schemas: total,
      versions: [...versions.keys()]
        .toSorted()
        .map((version) => ({ version, schemas: versions.get(version) ?? 0 })),
      runUnderWay: holder !== undefined,
      durationMs: Math.round(clock.monotonicMs() - startedMs),
    };
  }

  return { find };
}

/** @throws AppError illegal_state */
async function requireLedgers(session: ReadSession): Promise<void> {
  const [row] = await session.query<{ there: boolean }>(
    `select to_regclass('control.schema_versions') is not null as there`,
  );
  if (row?.there !== true) {
    throw new AppError('illegal_state', 'The schema control is not up to date: tenantry migrate up');
  }
}

/** What is known of a schema; its ledgers were the same before and after. */
interface State {
  ledgers: Ledgers;
  catalog: Catalog;
}

async function readStates(
  session: ReadSession,
  schemas: readonly string[],
): Promise<Map<string, State | 'gone' | undefined>> {
  const before = await readLedgers(session, schemas);
  const catalogs = await readCatalogs(session, schemas);
  const after = await readLedgers(session, schemas);
  const stateOf = (schema: string): State | 'gone' | undefined => {
    const [catalog, ledgers] = [catalogs.get(schema), before.get(schema)];
    if (catalog === undefined || ledgers === undefined) return 'gone';
    const still = JSON.stringify(ledgers) === JSON.stringify(after.get(schema));
    return still ? { ledgers, catalog } : undefined;
  };
  return new Map(schemas.map((schema) => [schema, stateOf(schema)]));
}

/** What is dropped while it is read fails the reading of all; the next look leaves it out. */
function unlessDropped(error: unknown): Map<string, undefined> {
  const { code, cause } = error as { code?: string; cause?: { code?: string } };
  // A schema or table; what a function of the catalogs has looked for in vain.
  if (code === 'tenant_migrating' || (cause?.code ?? code) === 'XX000') return new Map();
  throw error;
}

/**
 * Against the template of the version that the central ledger names. Where knex's own ledger, which is part of the schema,
 * names another one and that fits better, the schema has been replaced: it is told by what it is.
 */
async function judge(
  schema: string,
  { ledgers, catalog }: State,
  scripts: readonly Script[],
  templates: Templates,
): Promise<Finding[]> {
  const central = stepsOf(ledgers);
  const known = new Set(scripts.map(({ step }) => step));
  if (!central.every((step) => known.has(step))) return compareLedgers(schema, ledgers, scripts, false);
  const template = await templates.of(central);
  if (typeof template === 'string') {
    return [...compareLedgers(schema, ledgers, scripts, false), incomparable(schema, template)];
  }
  const differences = compare(schema, template, catalog);
  const own = ledgers.knex?.filter((step) => known.has(step)) ?? [];
  if (differences.length > 0 && own.length > 0 && own.toSorted().join() !== central.toSorted().join()) {
    const other = await templates.of(own);
    const fewer = typeof other === 'string' ? differences : compare(schema, other, catalog);
    if (fewer.length < differences.length) {
      return [...compareLedgers(schema, ledgers, scripts, false), ...fewer];
    }
  }
  const whole = !differences.some(
    ({ kind, object }) => kind === 'missing' && (object === 'table' || object === 'column'),
  );
  return [...compareLedgers(schema, ledgers, scripts, whole), ...differences];
}

function restless(schema: string): Finding {
  return incomparable(schema, 'it is being migrated');
}

function incomparable(schema: string, why: string): Finding {
  const words = `${schema}: cannot be compared: ${why}`;
  return { schema, kind: 'different', object: 'schema', name: schema, repair: 'by hand', mend: [], words };
}
