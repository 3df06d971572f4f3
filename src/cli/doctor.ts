import { Command } from 'commander';
import { buildDoctor } from '../build.ts';
import { loadConfig } from '../config.ts';
import { Exit, exitCodes, type Io, printJson, printTable } from './io.ts';

export function doctorCommand(io: Io): Command {
  return new Command('doctor')
    .description('Look at everything a start depends on. Exit code 1 when something is wrong.')
    .option('--json', 'print JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const findings = await buildDoctor(loadConfig(io.env, 'print'));
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
