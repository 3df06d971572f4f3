import { Command } from 'commander';
import { moveTenantSchema } from '../control/tenants/schema.ts';
import { withControl } from './control.ts';
import { Exit, exitCodes, type Io, printJson } from './io.ts';
import { printJob, untilEnded } from './tenant-life.ts';

interface MoveOptions {
  isolation?: string;
  confirm?: boolean;
  wait?: boolean;
  json?: boolean;
}

export function moveCommand(io: Io): Command {
  return new Command('move')
    .description('Move a tenant, while it works, between common tables and a schema of its own, as a job.')
    .argument('<slug-or-id>')
    .option('--isolation <kind>', 'where it is to be: shared or schema')
    .option('--confirm', 'remove what the last move has left behind; there is no way back')
    .option('--wait', 'run the job in this process and wait for its end; otherwise a service runs it')
    .option('--json', 'print JSON')
    .action((slugOrId: string, options: MoveOptions) => move(io, slugOrId.toLowerCase(), options));
}

async function move(io: Io, slugOrId: string, options: MoveOptions): Promise<void> {
  const { isolation, confirm = false, wait = false, json = false } = options;
  if (confirm === (isolation !== undefined)) {
    throw new Exit(exitCodes.usage, 'Either --isolation or --confirm is needed.');
  }
  const input = moveTenantSchema.safeParse({ isolation });
  if (!confirm && !input.success) {
    throw new Exit(exitCodes.usage, '--isolation is either shared or schema.');
  }
  await withControl(io, async (control) => {
    const requested = input.success
      ? await control.moves.request(slugOrId, input.data)
      : await control.moves.confirm(slugOrId);
    const job = wait ? await untilEnded(io, control, requested, json) : requested;
    if (json) printJson(io, job);
    else printJob(io, job);
    if (wait && job.status !== 'succeeded') throw new Exit(exitCodes.error);
  });
}
