import { Command } from 'commander';
import { loadConfig } from '../config.ts';
import { examineIsolation } from '../control/doctor.ts';
import { buildDoctor } from '../examination.ts';
import { withControl } from './control.ts';
import { Exit, exitCodes, type Io, printJson, printTable } from './io.ts';

export function doctorCommand(io: Io): Command {
  return new Command('doctor')
    .description('Look at everything a start depends on. Exit code 1 when something is wrong.')
    .option('--rls', 'look at what keeps tenants apart instead: policies, keys, rights, roles')
    .option('--json', 'print JSON')
    .action(async ({ rls, json }: { rls?: boolean; json?: boolean }) => {
      const findings = rls
        ? await withControl(io, ({ database }) => examineIsolation(database))
        : await buildDoctor(loadConfig(io.env, 'print'));
      if (json) printJson(io, findings);
      else {
        printTable(
          io,
          ['verdict', 'check', 'detail'],
          findings.map(({ verdict, check, detail }) => [verdict, check, detail]),
        );
      }
      if (findings.some((finding) => finding.verdict === 'fail')) throw new Exit(exitCodes.error);
    });
}
