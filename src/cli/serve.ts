import { Command } from 'commander';
import { loadConfig } from '../config.ts';
import { serve, untilSignal } from '../serve.ts';
import type { Io } from './io.ts';

export function serveCommand(io: Io): Command {
  return new Command('serve')
    .description('Serve the tenant API and, with DATABASE_ADMIN_URL, the admin API.')
    .action(async () => {
      const serving = await serve(loadConfig(io.env, 'serve'));
      await untilSignal();
      await serving.stop();
    });
}
