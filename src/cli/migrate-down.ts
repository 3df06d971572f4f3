import { Command } from 'commander';
import { withControl } from './control.ts';
import { Exit, exitCodes, type Io, printJson, printTable } from './io.ts';

interface Flags {
  tenant?: string[];
  yes?: boolean;
  json?: boolean;
}

/** For development: in production a mistake is mended by the next migration. */
export function downCommand(io: Io): Command {
  return new Command('down')
    .description('Take the newest migration of the tenant ladder back, and what it holds with it.')
    .option('--tenant <slugs...>', 'these tenants alone; all of them and shared by default')
    .option('--yes', 'really')
    .option('--json', 'print JSON')
    .action(async ({ tenant, yes, json }: Flags) => {
      if (yes !== true) {
        throw new Exit(exitCodes.usage, 'Columns and tables go, and their rows with them. Say --yes.');
      }
      const report = await withControl(io, ({ runner }) =>
        runner.down(tenant === undefined ? {} : { tenants: tenant }),
      );
      if (json === true) printJson(io, report);
      else {
        const rows = report.results.map(({ schema, outcome, step, error }) => [
          schema,
          outcome,
          step,
          error ?? '',
        ]);
        printTable(io, ['schema', 'outcome', 'step', 'why'], rows);
      }
      if (report.results.some(({ outcome }) => outcome === 'failed')) throw new Exit(exitCodes.someFailed);
    });
}
