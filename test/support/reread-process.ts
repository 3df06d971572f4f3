import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createLadder } from '../../src/control/migrations/ladder.ts';

/**
 * Writes a migration, reads it, writes it anew and reads it again, as who tries things out beside `npm run dev`; not in a
 * test itself, for jest has a cache of modules of its own. argv: a folder of ladders.
 */
const folder = process.argv[2] ?? '';
const ladder = createLadder('tenant', folder);
for (const table of ['draft', 'final']) {
  const text = `export async function up(knex) { await knex.raw('create table ${table} (id int)'); }\n`;
  await writeFile(path.join(folder, 'tenant', '0001_written.js'), text);
  const [script] = await ladder.scripts();
  process.stdout.write(`${script?.statements[0]?.sql}\n`);
}
