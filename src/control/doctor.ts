import type { Config } from '../config.ts';
import type { ControlDatabase, Database } from '../db/index.ts';
import { connectionBudget } from './connections.ts';
import type { Runner } from './migrations/runner.ts';

/** One thing that was looked at. `warn` works but wants attention; `fail` does not work or is not safe. */
export interface Finding {
  check: string;
  verdict: 'ok' | 'warn' | 'fail';
  detail: string;
}

export interface DoctorParts {
  config: Config;
  /** Undefined when DATABASE_URL is not set. */
  db: Database | undefined;
  control: { database: ControlDatabase; runner: Runner } | undefined;
}

/** Looks at everything a start depends on. Never throws: what cannot be looked at is a finding. */
export async function examine({ config, db, control }: DoctorParts): Promise<Finding[]> {
  const findings: Finding[] = [];
  const look = async (check: string, fn: () => Promise<Omit<Finding, 'check'>>) => {
    try {
      findings.push({ check, ...(await fn()) });
    } catch (error) {
      findings.push({ check, verdict: 'fail', detail: (error as Error).message });
    }
  };

  if (db !== undefined) {
    await look('primary and role of DATABASE_URL', async () => {
      await db.start();
      return { verdict: 'ok', detail: 'reachable; the role is bound by row level security' };
    });
    await replicasSettled(db);
    for (const { name, role, state, lagMs } of db.nodes().filter((node) => node.role === 'replica')) {
      const lag = lagMs === undefined ? '' : `, ${lagMs} ms behind`;
      findings.push({
        check: `${name} (${role})`,
        verdict: state === 'fresh' ? 'ok' : 'warn',
        detail: `${state}${lag}`,
      });
    }
    await look('connections', () => connections(config, db));
  }
  if (control !== undefined) {
    await look('migrations', () => pendingMigrations(control.runner));
    await look('row level security', () => unprotectedTables(control.database));
  }
  return findings;
}

/** Under writes it may take a replica a few probes to be seen level with the primary. */
async function replicasSettled(db: Database): Promise<void> {
  for (let look = 0; look < 40 && db.nodes().some(({ state }) => state === 'stale'); look += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function connections(config: Config, db: Database): Promise<Omit<Finding, 'check'>> {
  const { needed, max, processes } = await connectionBudget(config, db);
  const detail = `one process opens up to ${needed} on the primary, which takes ${max}: room for ${processes}`;
  return { verdict: processes === 0 ? 'fail' : processes === 1 ? 'warn' : 'ok', detail };
}

async function pendingMigrations(runner: Runner): Promise<Omit<Finding, 'check'>> {
  const plans = await runner.plan();
  const pending = plans.filter((plan) => plan.pending.length > 0).length;
  return pending === 0
    ? { verdict: 'ok', detail: `${plans.length} schemas are up to date` }
    : { verdict: 'warn', detail: `${pending} of ${plans.length} schemas wait: tenantry migrate up` };
}

async function unprotectedTables(database: ControlDatabase): Promise<Omit<Finding, 'check'>> {
  const tables = await database.read((session) =>
    session.query<{ name: string }>(`
      select format('%I.%I', n.nspname, c.relname) as name
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where (n.nspname = 'shared' or n.nspname like 'tenant\\_%') and c.relkind in ('r', 'p')
        and c.relname not in ('knex_migrations', 'knex_migrations_lock')
        and not (c.relrowsecurity and c.relforcerowsecurity
          and exists (select from pg_policy p where p.polrelid = c.oid))
      order by 1`),
  );
  return tables.length === 0
    ? { verdict: 'ok', detail: 'enabled and forced, with a policy, on every tenant table' }
    : { verdict: 'fail', detail: `missing on ${tables.map((table) => table.name).join(', ')}` };
}
