import type { Knex } from 'knex';
import { createLadder, type LadderName } from './src/control/migrations/ladder.ts';
import { schemaName } from './src/db/index.ts';

/**
 * For knex's own command line; `tenantry migrate` does not read it. Each schema holds its own ledger, so plain
 * `npx knex migrate:status` tells the truth about it:
 *
 *   npx knex migrate:status                              the schema control
 *   npx knex migrate:status --env shared                 the schema shared
 *   TENANT=globex npx knex migrate:status --env tenant   the schema tenant_globex
 */
const { DATABASE_ADMIN_URL, TENANT } = process.env;

function environment(ladder: LadderName, schema: string): Knex.Config {
  return {
    client: 'pg',
    connection: DATABASE_ADMIN_URL ?? '',
    searchPath: [schema],
    pool: { min: 0, max: 1 },
    migrations: { schemaName: schema, migrationSource: createLadder(ladder).source },
  };
}

if (!DATABASE_ADMIN_URL) {
  throw new Error('DATABASE_ADMIN_URL is not set. Beside npm run dev: set -a; . ./.tenantry/dev.env; set +a');
}

const control = environment('control', 'control');

export default {
  development: control,
  production: control,
  control,
  shared: environment('tenant', 'shared'),
  ...(TENANT === undefined ? {} : { tenant: environment('tenant', schemaName(`tenant_${TENANT}`)) }),
} satisfies Record<string, Knex.Config>;
