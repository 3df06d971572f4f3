import { afterAll, beforeAll } from '@jest/globals';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { buildControlPlane, type ControlPlane, createKernel } from '../../src/build.ts';
import type { Isolation } from '../../src/db/index.ts';
import type { TestDatabase } from './database.ts';
import { password, testConfig } from './tenantry.ts';

/** The control plane of a database, with ladders of its own to which a test adds steps. */
export interface Fleet {
  readonly control: ControlPlane;
  /** @param up SQL, or the body of a function of `knex` when it holds `await` */
  addStep(ladder: 'control' | 'tenant', name: string, up: string): Promise<void>;
  onboard(slug: string, isolation?: Isolation): Promise<void>;
  /** Applied migrations by schema, from the central ledger. */
  ledger(): Promise<Record<string, string[]>>;
  /** The same, from knex's own table in each schema. */
  knexLedgers(): Promise<Record<string, string[]>>;
  /** Schemas that have a table of this name. */
  schemasWith(table: string): Promise<string[]>;
}

const ladders = fileURLToPath(new URL('../../migrations', import.meta.url));

/** To be called at the top of a test file or in a describe, after useDatabase(). */
export function useFleet(database: TestDatabase): Fleet {
  let folder = '';
  let control: ControlPlane | undefined;
  beforeAll(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'tenantry-ladders-'));
    await cp(ladders, folder, { recursive: true });
    control = buildControlPlane(
      createKernel(testConfig(database), { logger: pino({ level: 'silent' }), migrationsFolder: folder }),
    );
  });
  afterAll(async () => {
    await control?.stop();
    await rm(folder, { recursive: true, force: true });
  });
  const running = () => {
    if (control === undefined) throw new Error('The fleet is made in beforeAll');
    return control;
  };

  return {
    get control() {
      return running();
    },
    addStep: (ladder, name, up) =>
      writeFile(
        path.join(folder, ladder, `${name}.ts`),
        `export async function up(knex) {\n${up.includes('await') ? up : `await knex.raw(${JSON.stringify(up)});`}\n}
         export async function down() { throw new Error('nobody goes down here'); }\n`,
      ),
    async onboard(slug, isolation = 'schema') {
      const owner = { email: `owner@${slug}.test`, password };
      await running().tenants.create({ slug, name: slug, isolation, owner, limits: {} });
    },
    async ledger() {
      const rows = await database.superuser<{ schema: string; names: string[] }>(
        `select schema_name as schema, array_agg(migration order by migration) as names
         from control.migration_ledger group by 1 order by 1`,
      );
      return Object.fromEntries(rows.map(({ schema, names }) => [schema, names]));
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

/** `t01` to `t20`, say. */
export function slugs(count: number): string[] {
  return Array.from({ length: count }, (_, n) => `t${String(n + 1).padStart(2, '0')}`);
}
