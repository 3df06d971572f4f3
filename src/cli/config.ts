import { Command } from 'commander';
import { exampleEnv, loadConfig, printConfig } from '../config.ts';
import type { Io } from './io.ts';
import { printJson } from './io.ts';

export function configCommand(io: Io): Command {
  const command = new Command('config').description('The configuration.');
  command
    .command('print')
    .description('Print the settings in force; secrets are hidden.')
    .option('--example', 'print .env.example instead')
    .option('--json', 'print JSON')
    .action(({ example, json }: { example?: boolean; json?: boolean }) => {
      if (example) {
        io.out(exampleEnv().trimEnd());
        return;
      }
      const text = printConfig(loadConfig(io.env, 'print'));
      if (!json) {
        io.out(text);
        return;
      }
      const lines = text.split('\n').filter((line) => !line.startsWith('#'));
      printJson(io, Object.fromEntries(lines.map((line) => line.split(/=(.*)/s).slice(0, 2))));
    });
  return command;
}
