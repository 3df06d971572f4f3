import { execFile } from 'node:child_process';
import { readdir, readFile, writeFile, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { Command } from 'commander';
import type { Io } from './io.ts';
import { type Field, fieldOf } from './make/fields.ts';
import { filesOf } from './make/files.ts';
import { type Names, namesOf } from './make/names.ts';
import { nextNumber } from './make/number.ts';
import { placesOf, put } from './make/places.ts';

export function makeCommand(io: Io): Command {
  const make = new Command('make').description('Write code into this project.');
  make
    .command('resource')
    .description(
      'Write a resource of the tenant API: its four files, the migration, its lines in build.ts, tenant-api.ts and limiter.ts, its rows in the isolation tests and a test.',
    )
    .argument('<name>', 'its plural, as in the path: invoices', namesOf)
    .argument(
      '<fields...>',
      'name:kind, name?:kind for one that may be null, name:text:unique; kinds: text, integer, money, time',
      fieldOf,
    )
    .action(async (names: Names, fields: Field[]) => {
      for (const file of await writeResource(names, fields)) io.out(file);
      io.note('Next: npm run check, and tenantry migrate up where it is to be served.');
    });
  return make;
}

/**
 * All or nothing: what cannot be put where it belongs is found before anything is written.
 *
 * @returns the files that were written or changed
 * @throws Error when this is not a project of Tenantry, or it has such a resource
 */
async function writeResource(names: Names, fields: readonly Field[]): Promise<string[]> {
  const migration = await nextNumber(path.join('migrations', 'tenant'));
  const made = filesOf(names, fields, migration);
  const changed = new Map<string, string>();
  for (const place of placesOf(names, fields)) {
    const text = changed.get(place.file) ?? (await readFile(place.file, 'utf8'));
    changed.set(place.file, put(text, place));
  }
  const folder = path.join('src', 'features', names.path);
  if ((await readdir(folder).catch(() => [])).length > 0) throw new Error(`${folder} is there already.`);
  for (const [file, text] of Object.entries(made)) {
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, text, { flag: 'wx' });
  }
  for (const [file, text] of changed) await writeFile(file, text);
  const files = [...Object.keys(made), ...changed.keys()];
  const format = path.join('node_modules', '@biomejs', 'biome', 'bin', 'biome');
  await promisify(execFile)(process.execPath, [format, 'format', '--write', ...files]);
  return files;
}
