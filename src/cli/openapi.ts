import { Command } from 'commander';
import { describeTenantApi } from '../tenant-api.ts';
import type { Io } from './io.ts';

export function openApiCommand(io: Io): Command {
  return new Command('openapi')
    .description('Print the OpenAPI document of the tenant API, as GET /openapi.json has it.')
    .action(async () => io.out(JSON.stringify(await describeTenantApi(), null, 2)));
}
