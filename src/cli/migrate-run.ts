import { Command } from 'commander';
import { command as author } from '../control/tenants/service.ts';
import { withControl } from './control.ts';
import { type Io, printJson } from './io.ts';

const asks = [
  ['pause', 'pause', 'Let a run finish what it has begun, and wait.'],
  ['resume', 'run', 'Let a paused run go on.'],
  ['cancel', 'cancel', 'Let a run finish what it has begun, and end.'],
] as const;

/** What an operator asks of a run that another process is at. */
export function askCommands(io: Io): Command[] {
  return asks.map(([name, wanted, description]) =>
    new Command(name)
      .description(description)
      .argument('[run]', 'id of the run; the one that is under way by default')
      .option('--json', 'print JSON')
      .action(async (id: string | undefined, { json }: { json?: boolean }) => {
        const run = await withControl(io, ({ fleet }) => fleet.ask(wanted, author, id));
        if (json === true) printJson(io, run);
        else io.out(`Run ${run.id} of ${run.requestedBy} is ${run.status} and was asked to ${name}.`);
      }),
  );
}
