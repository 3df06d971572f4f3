import { Command } from 'commander';
import { command as author } from '../control/tenants/service.ts';
import { isUuid } from '../db/index.ts';
import { apiKey } from '../features/api-keys/schema.ts';
import { withControl } from './control.ts';
import { Exit, exitCodes, type Io, printJson } from './io.ts';

export function keyCommand(io: Io): Command {
  const command = new Command('key').description('API keys of tenants, made and revoked by the platform.');
  command
    .command('create')
    .description('Make a key, bounded by its scopes alone, and print it once.')
    .argument('<tenant>', 'slug or id')
    .requiredOption('--name <name>', 'what it is for')
    .requiredOption('--scopes <scopes>', 'separated by commas, such as read or products:write')
    .option('--expires-at <time>', 'ISO 8601, or never; 90 days from now when left out')
    .option('--json', 'print JSON')
    .action((tenant: string, options: CreateOptions) => create(io, tenant, options));
  command
    .command('revoke')
    .description('End a key. Processes that serve know within a second.')
    .argument('<tenant>', 'slug or id')
    .argument('<key-id>')
    .option('--json', 'print JSON')
    .action((tenant: string, keyId: string, { json }: { json?: boolean }) =>
      revoke(io, tenant, keyId, json ?? false),
    );
  return command;
}

interface CreateOptions {
  name: string;
  scopes: string;
  expiresAt?: string;
  json?: boolean;
}

async function create(io: Io, tenant: string, options: CreateOptions): Promise<void> {
  const { name, scopes, expiresAt, json } = options;
  const input = apiKey.create.safeParse({
    name,
    scopes: scopes.split(',').map((scope) => scope.trim()),
    ...(expiresAt === undefined ? {} : { expiresAt: expiresAt === 'never' ? null : expiresAt }),
  });
  if (!input.success) {
    const faults = input.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    throw new Exit(exitCodes.usage, faults.join('\n'));
  }
  const made = await withControl(io, ({ keys }) => keys.create(tenant.toLowerCase(), input.data, author));
  if (json) printJson(io, made);
  else {
    io.out(made.key);
    io.note(`key ${made.id} of ${tenant}, shown this once; it ends ${made.expiresAt ?? 'never'}`);
  }
}

async function revoke(io: Io, tenant: string, keyId: string, json: boolean): Promise<void> {
  const id = keyId.toLowerCase();
  if (!isUuid(id)) throw new Exit(exitCodes.usage, 'The id of a key is a uuid.');
  await withControl(io, ({ keys }) => keys.revoke(tenant.toLowerCase(), id, author));
  if (json) printJson(io, { revoked: id });
  else io.out(`revoked ${id}`);
}
