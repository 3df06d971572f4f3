import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { emptyMigration } from '../control/migrations/template.ts';
import type { Io } from './io.ts';
import { nextNumber } from './make/number.ts';

/** Writes an empty migration; it is a file of the project, not of an installation. */
export function makeCommand(io: Io): Command {
  return new Command('make')
    .description('Write a new migration into migrations/, with the next number.')
    .argument('<name>', 'lower case letters, digits and underscores: add_invoices', migrationName)
    .addOption(
      new Option('--ladder <ladder>', 'which ladder').choices(['tenant', 'control']).default('tenant'),
    )
    .action(async (name: string, { ladder }: { ladder: 'tenant' | 'control' }) => {
      const folder = path.join('migrations', ladder);
      const file = path.join(folder, `${await nextNumber(folder)}_${name}.ts`);
      await writeFile(file, emptyMigration, { flag: 'wx' });
      io.out(file);
    });
}

function migrationName(text: string): string {
  if (!/^[a-z][a-z0-9_]{0,50}$/.test(text)) {
    throw new InvalidArgumentError('Lower case letters, digits and underscores are needed.');
  }
  return text;
}
