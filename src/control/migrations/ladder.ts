import { readdir, stat } from 'node:fs/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import path from 'node:path';
import type { Knex } from 'knex';
import { type Backfill, type Script, scriptOf } from './script.ts';

/**
 * A ladder is a folder of knex migrations, applied in the order of their names. `control` is for the schema of that
 * name, `tenant` for `shared` and for every schema of a tenant.
 */
export type LadderName = 'control' | 'tenant';

export interface Ladder {
  name: LadderName;
  /** Names in order, without the ending: the same from source and from the build. */
  steps(): Promise<string[]>;
  /** What the steps would execute, in order. Found out once, as long as the files stay as they are. */
  scripts(): Promise<readonly Script[]>;
  /** For knex's migrator. */
  source: Knex.MigrationSource<string>;
}

/** What a file of the tenant ladder may say beside what knex knows: docs/migrations.md. */
export interface MigrationFile extends Knex.Migration {
  /** As knex has it. False: the statements run one by one, outside of a transaction, as CREATE INDEX CONCURRENTLY must. */
  config?: { transaction?: boolean };
  /** It takes away what older builds need: they stop serving a schema before it gets this step. */
  contract?: boolean;
  /** Findings of lint that do not count here: rule → reason. */
  allow?: Readonly<Record<string, string>>;
  /** Rows to be rewritten, a few at a time, after `up`. */
  backfill?: Backfill;
}

const migrationsFolder = fileURLToPath(new URL('../../../migrations', import.meta.url));
const fileName = /^(\d{4}_[a-z0-9_]+)\.(?:ts|js)$/;

/** @param folder where the ladders are; the project's own by default */
export function createLadder(name: LadderName, folder: string = migrationsFolder): Ladder {
  const directory = path.join(folder, name);

  async function files(): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    for (const file of (await readdir(directory)).toSorted()) {
      const step = fileName.exec(file)?.[1];
      if (step !== undefined) found.set(step, path.join(directory, file));
    }
    return found;
  }

  const steps = async () => [...(await files()).keys()];

  async function fileOf(step: string): Promise<{ url: URL; changedMs: number }> {
    const file = (await files()).get(step);
    if (file === undefined) throw new Error(`There is no migration ${step} in ${directory}`);
    const { mtimeMs } = await stat(file);
    const url = pathToFileURL(file);
    // A module is read once for each URL: whoever writes a migration beside `npm run dev` changes it more often.
    url.searchParams.set('changed', String(mtimeMs));
    return { url, changedMs: mtimeMs };
  }

  const load = async (step: string) => (await import((await fileOf(step)).url.href)) as MigrationFile;

  const found = new Map<string, { script: Script; changedMs: number }>();
  async function script(step: string): Promise<Script> {
    const { changedMs } = await fileOf(step);
    const known = found.get(step);
    if (known?.changedMs === changedMs) return known.script;
    const made = await scriptOf(step, await load(step));
    found.set(step, { script: made, changedMs });
    return made;
  }

  return {
    name,
    steps,
    async scripts() {
      const all: Script[] = [];
      for (const step of await steps()) all.push(await script(step));
      return all;
    },
    source: {
      getMigrations: steps,
      getMigrationName: (step) => step,
      getMigration: load,
    },
  };
}
