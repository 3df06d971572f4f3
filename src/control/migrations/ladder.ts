import { readdir } from 'node:fs/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import path from 'node:path';
import type { Knex } from 'knex';

/**
 * A ladder is a folder of knex migrations, applied in the order of their names. `control` is for the schema of that
 * name, `tenant` for `shared` and for every schema of a tenant.
 */
export type LadderName = 'control' | 'tenant';

export interface Ladder {
  name: LadderName;
  /** Names in order, without the ending: the same from source and from the build. */
  steps(): Promise<string[]>;
  /** For knex's migrator. */
  source: Knex.MigrationSource<string>;
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

  return {
    name,
    steps,
    source: {
      getMigrations: steps,
      getMigrationName: (step) => step,
      async getMigration(step) {
        const file = (await files()).get(step);
        if (file === undefined) throw new Error(`There is no migration ${step} in ${directory}`);
        return (await import(pathToFileURL(file).href)) as Knex.Migration;
      },
    },
  };
}
