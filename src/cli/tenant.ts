import { randomBytes } from 'node:crypto';
import { Command } from 'commander';
import { createTenantSchema, type TenantView } from '../control/tenants/schema.ts';
import { withControl } from './control.ts';
import { Exit, exitCodes, type Io, printJson, printTable } from './io.ts';
import { lifeCommands } from './tenant-life.ts';
import { moveCommand } from './tenant-move.ts';
import { addTransferCommands } from './tenant-transfer.ts';

export function tenantCommand(io: Io): Command {
  const command = new Command('tenant').description(
    'Onboard tenants, look at them, and move them through their life.',
  );
  command
    .command('create')
    .description('Make a tenant: its schema or rows, its tables and its owner, all or nothing.')
    .argument('<slug>')
    .requiredOption('--owner-email <email>', 'the first user')
    .option('--owner-password <password>', 'made up and printed once when left out')
    .option('--name <name>', 'the slug when left out')
    .option('--isolation <kind>', 'shared: rows in common tables; schema: a schema of its own', 'shared')
    .option('--json', 'print JSON')
    .action((slug: string, options: CreateOptions) => create(io, slug, options));
  command
    .command('list')
    .description('All tenants, oldest first.')
    .option('--json', 'print JSON')
    .action(({ json }: { json?: boolean }) => list(io, json ?? false));
  command
    .command('show')
    .description('One tenant.')
    .argument('<slug-or-id>')
    .option('--json', 'print JSON')
    .action((slugOrId: string, { json }: { json?: boolean }) => show(io, slugOrId, json ?? false));
  for (const move of lifeCommands(io, (tenant) => printTenant(io, tenant))) command.addCommand(move);
  command.addCommand(moveCommand(io));
  addTransferCommands(command, io);
  return command;
}

interface CreateOptions {
  ownerEmail: string;
  ownerPassword?: string;
  name?: string;
  isolation: string;
  json?: boolean;
}

async function create(io: Io, slug: string, options: CreateOptions): Promise<void> {
  const password = options.ownerPassword ?? randomBytes(12).toString('base64url');
  const input = createTenantSchema.safeParse({
    slug,
    name: options.name ?? slug,
    isolation: options.isolation,
    owner: { email: options.ownerEmail, password },
  });
  if (!input.success) {
    const faults = input.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    throw new Exit(exitCodes.usage, faults.join('\n'));
  }
  const tenant = await withControl(io, (control) => control.tenants.create(input.data));
  const made = options.ownerPassword === undefined ? { ownerPassword: password } : {};
  if (options.json) printJson(io, { ...tenant, ...made });
  else {
    printTenant(io, tenant);
    if (made.ownerPassword !== undefined) io.out(`owner password (shown once): ${made.ownerPassword}`);
  }
}

async function list(io: Io, json: boolean): Promise<void> {
  const tenants = await withControl(io, async ({ tenants: service }) => {
    const all: TenantView[] = [];
    let after: { value: string | number; id: string } | undefined;
    do {
      const page = await service.list({
        limit: 100,
        sort: { field: 'createdAt', direction: 'asc' },
        ...(after === undefined ? {} : { after }),
      });
      all.push(...page.rows);
      after = page.next;
    } while (after !== undefined);
    return all;
  });
  if (json) printJson(io, tenants);
  else {
    printTable(
      io,
      ['slug', 'isolation', 'status', 'version', 'id'],
      tenants.map((tenant) => [
        tenant.slug,
        tenant.isolation,
        tenant.status,
        tenant.schemaVersion ?? '-',
        tenant.id,
      ]),
    );
  }
}

async function show(io: Io, slugOrId: string, json: boolean): Promise<void> {
  const tenant = await withControl(io, ({ tenants }) => tenants.find(slugOrId.toLowerCase()));
  if (tenant === undefined) throw new Exit(exitCodes.error, `There is no tenant ${slugOrId}.`);
  if (json) printJson(io, tenant);
  else printTenant(io, tenant);
}

function printTenant(io: Io, tenant: TenantView): void {
  for (const [field, value] of Object.entries(tenant)) {
    io.out(`${field.padEnd(14)} ${typeof value === 'object' ? JSON.stringify(value) : value}`);
  }
}
