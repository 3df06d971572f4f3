import { Command } from 'commander';
import { Exit, exitCodes, type Io, printJson, printTable } from './io.ts';
import { withControl } from './control.ts';
import { downCommand } from './migrate-down.ts';
import { driftCommand, repairCommand } from './migrate-drift.ts';
import { lintCommand } from './migrate-lint.ts';
import { makeCommand } from './migrate-make.ts';
import { askCommands } from './migrate-run.ts';
import { planCommand, upCommand } from './migrate-up.ts';

export function migrateCommand(io: Io): Command {
  const command = new Command('migrate').description(
    'Migrate control, shared and the schema of every tenant.',
  );
  command.addCommand(upCommand(io)).addCommand(planCommand(io));
  command
    .command('status')
    .description('Show which version the schemas are at. Exit code 3 when anything is pending.')
    .option('--json', 'print JSON')
    .action(({ json }: { json?: boolean }) => status(io, json ?? false));
  for (const ask of askCommands(io)) command.addCommand(ask);
  command.addCommand(driftCommand(io)).addCommand(repairCommand(io));
  return command.addCommand(downCommand(io)).addCommand(makeCommand(io)).addCommand(lintCommand(io));
}

async function status(io: Io, json: boolean): Promise<void> {
  const fleet = await withControl(io, (control) => control.fleet.status());
  if (json) printJson(io, fleet);
  else {
    printTable(
      io,
      ['ladder', 'version', 'schemas'],
      fleet.versions.map(({ ladder, version, schemas }) => [ladder, version, String(schemas)]),
    );
    for (const { schema, pending, unknown } of fleet.outliers) {
      if (pending.length > 0) io.out(`${schema} waits for ${pending.join(', ')}`);
      if (unknown.length > 0) io.out(`${schema} is ahead of this build: ${unknown.join(', ')}`);
    }
    for (const { schema, migration, attempts, error } of fleet.failures) {
      io.out(`${schema} failed at ${migration}, ${attempts} ${attempts === 1 ? 'time' : 'times'}: ${error}`);
    }
    if (fleet.run !== null) {
      const { id, status: state, wave, requestedBy, progress } = fleet.run;
      const { applied, failed, skipped, total } = progress;
      const done = applied + failed + skipped;
      io.out(
        `Run ${id} of ${requestedBy} is ${state}, ${wave ?? 'beginning'}: ${done} of ${total}, ${failed} failed`,
      );
    }
  }
  if (fleet.pending > 0) throw new Exit(exitCodes.pending);
}
