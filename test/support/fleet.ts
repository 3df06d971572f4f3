import { afterAll, beforeAll } from '@jest/globals';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { buildControlPlane, type ControlPlane, createKernel, type Overrides } from '../../src/build.ts';
import type { Isolation } from '../../src/db/index.ts';
import type { TestDatabase } from './database.ts';
import { password, testConfig } from './tenantry.ts';

/** The control plane of a database, with ladders of its own to which a test adds steps. */
export interface Fleet {
  readonly control: ControlPlane;
  /** Where the ladders are. */
  readonly folder: string;
  /** @param up SQL, or the body of a function of `knex` when it holds `await` */
  addStep(ladder: 'control' | 'tenant', name: string, up: string): Promise<void>;
  /** The same with more than an `up`: `more` is the text of further exports. */
  addFile(ladder: 'control' | 'tenant', name: string, file: { up?: string; more?: string }): Promise<void>;
  onboard(slug: string, isolation?: Isolation): Promise<void>;
  /** A build that knows the steps there are now, and none that are added afterwards. */
  older(): Promise<Pick<Fleet, 'control' | 'onboard'> & { folder: string }>;
  /** Applied migrations by schema, from the central ledger. */
  ledger(): Promise<Record<string, string[]>>;
  /** How many schemas have the step. */
  at(step: string): Promise<number>;
  /** The same, from knex's own table in each schema. */
  knexLedgers(): Promise<Record<string, string[]>>;
  /** Schemas that have a table of this name. */
  schemasWith(table: string): Promise<string[]>;
}

const ladders = fileURLToPath(new URL('../../migrations', import.meta.url));

/**
 * To be called at the top of a test file or in a describe, after useDatabase().
 *
 * @param env settings, known when the fleet is made
 */
export function useFleet(
  database: TestDatabase,
  overrides: Pick<Overrides, 'migrations'> = {},
  env: () => Record<string, string> = () => ({}),
): Fleet {
  let folder = '';
  let control: ControlPlane | undefined;
  const built: { folder: string; control: ControlPlane }[] = [];
  async function buildFrom(ladder: string): Promise<{ folder: string; control: ControlPlane }> {
    const copy = await mkdtemp(path.join(os.tmpdir(), 'tenantry-ladders-'));
    await cp(ladder, copy, { recursive: true });
    const kernel = createKernel(testConfig(database, env()), {
      // Steps of tests are short rather than good.
      migrations: { lint: async () => undefined, ...overrides.migrations },
      logger: pino({ level: 'silent' }),
      migrationsFolder: copy,
    });
    const made = { folder: copy, control: buildControlPlane(kernel) };
    built.push(made);
    return made;
  }
  beforeAll(async () => {
    ({ folder, control } = await buildFrom(ladders));
  });
  afterAll(async () => {
    for (const made of built) {
      await made.control.stop();
      await rm(made.folder, { recursive: true, force: true });
    }
  });
  const running = () => {
    if (control === undefined) throw new Error('The fleet is made in beforeAll');
    return control;
  };

  function write(ladder: string, name: string, up: string, more: string): Promise<void> {
    const body = up === '' || up.includes('await') ? up : `await knex.raw(${JSON.stringify(up)});`;
    return writeFile(
      path.join(folder, ladder, `${name}.ts`),
      `export async function up(knex) {\n${body}\n}
       export async function down() { throw new Error('nobody goes down here'); }\n${more}\n`,
    );
  }

  return {
    get control() {
      return running();
    },
    get folder() {
      return folder;
    },
    addStep: (ladder, name, up) => write(ladder, name, up, ''),
    addFile: (ladder, name, { up = '', more = '' }) => write(ladder, name, up, more),
    onboard: (slug, isolation = 'schema') => onboardBy(running(), slug, isolation),
    async older() {
      const { control: other, folder: copy } = await buildFrom(folder);
      return {
        folder: copy,
        control: other,
        onboard: (slug, isolation = 'schema') => onboardBy(other, slug, isolation),
      };
    },
    async ledger() {
      const rows = await database.superuser<{ schema: string; names: string[] }>(
        `select schema_name as schema, array_agg(migration order by migration) as names
         from control.migration_ledger group by 1 order by 1`,
      );
      return Object.fromEntries(rows.map(({ schema, names }) => [schema, names]));
    },
    async at(step) {
      const rows = await database.superuser('select from control.migration_ledger where migration = $1', [
        step,
      ]);
      return rows.length;
    },
    async knexLedgers() {
      const schemas = await database.superuser<{ schema: string }>(
        `select schemaname as schema from pg_tables where tablename = 'knex_migrations' order by 1`,
      );
      const ledgers: Record<string, string[]> = {};
      for (const { schema } of schemas) {
        const rows = await database.superuser<{ name: string }>(
          `select name from "${schema}".knex_migrations order by id`,
        );
        ledgers[schema] = rows.map(({ name }) => name);
      }
      return ledgers;
    },
    async schemasWith(table) {
      const rows = await database.superuser<{ schema: string }>(
        'select schemaname as schema from pg_tables where tablename = $1 order by 1',
        [table],
      );
      return rows.map(({ schema }) => schema);
    },
  };
}

async function onboardBy({ tenants }: ControlPlane, slug: string, isolation: Isolation): Promise<void> {
  const owner = { email: `owner@${slug}.test`, password };
  await tenants.create({ slug, name: slug, isolation, owner, limits: {} });
}

/** `t01` to `t20`, say. */
export function slugs(count: number): string[] {
  return Array.from({ length: count }, (_, n) => `t${String(n + 1).padStart(2, '0')}`);
}
