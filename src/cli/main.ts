import { Command, CommanderError } from 'commander';
import { ConfigError } from '../config.ts';
import { AppError } from '../errors.ts';
import { withDevelopment } from './environment.ts';
import { build } from '../version.ts';
import { Exit, exitCodes, type Io } from './io.ts';
import { stepBack } from './step-back.ts';

const note = (line: string) => void process.stderr.write(`${line}\n`);
let completed: Io['env'] | undefined;
const io: Io = {
  /** Looked up when a command asks, so that `tenantry dev` and `--help` say nothing of a development cluster. */
  get env() {
    return (completed ??= withDevelopment(process.env, note));
  },
  stdin: process.stdin,
  stdout: process.stdout,
  out: (line) => void process.stdout.write(`${line}\n`),
  note,
  interactive: process.stderr.isTTY && !process.env['CI'] && !process.env['NO_COLOR'],
};

/** For the command that makes the development cluster. */
const plain: Io = {
  env: process.env,
  stdin: io.stdin,
  stdout: io.stdout,
  out: io.out,
  note,
  interactive: io.interactive,
};

/** Each is loaded when it is asked for: what serves takes half a second that the others need not wait for. */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import('./serve.ts')).serveCommand(io),
  dev: async () => (await import('./dev.ts')).devCommand(plain),
  async migrate() {
    stepBack(process.env);
    return (await import('./migrate.ts')).migrateCommand(io);
  },
  tenant: async () => (await import('./tenant.ts')).tenantCommand(io),
  key: async () => (await import('./key.ts')).keyCommand(io),
  seed: async () => (await import('./seed.ts')).seedCommand(io),
  doctor: async () => (await import('./doctor.ts')).doctorCommand(io),
  make: async () => (await import('./make.ts')).makeCommand(plain),
  config: async () => (await import('./config.ts')).configCommand(io),
  openapi: async () => (await import('./openapi.ts')).openApiCommand(plain),
};

const program = new Command('tenantry')
  .version(build)
  .description('Multi-tenant SaaS backend on PostgreSQL: serve it, onboard tenants, migrate all of them.');
const asked = Object.hasOwn(commands, process.argv[2] ?? '')
  ? [process.argv[2] ?? '']
  : Object.keys(commands);
for (const name of asked) {
  const command = await commands[name]?.();
  if (command !== undefined) program.addCommand(command);
}
throwing(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = exitCodeOf(error);
  if (!(error instanceof CommanderError) && (error as Error).message !== '') note((error as Error).message);
}

/** Commander ends the process itself unless it is told otherwise, for each command of a tree; the codes are ours. */
function throwing(command: Command): void {
  command.exitOverride();
  command.commands.forEach(throwing);
}

function exitCodeOf(error: unknown): number {
  if (error instanceof Exit) return error.exitCode;
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.done : exitCodes.usage;
  if (error instanceof ConfigError) return exitCodes.usage;
  if (error instanceof AppError) {
    if (error.code === 'unavailable') return exitCodes.cannotConnect;
    if (error.code === 'run_under_way') return exitCodes.leaseHeld;
    return error.code === 'invalid_input' ? exitCodes.usage : exitCodes.error;
  }
  return exitCodes.error;
}
