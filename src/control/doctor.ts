import type { Config } from '../config.ts';
import type { ControlDatabase, Database } from '../db/index.ts';
import { AppError } from '../errors.ts';
import { connectionBudget } from './connections.ts';
import { databaseRules, type IsolationRule, isolationRules } from './isolation-rules.ts';
import type { Runner } from './migrations/runner.ts';

/** One thing that was looked at. `warn` works but wants attention; `fail` does not work or is not safe. */
export interface Finding {
  check: string;
  verdict: 'ok' | 'warn' | 'fail';
  detail: string;
  /** All that break the rule that was looked at; absent where no single thing can be named. */
  found?: readonly string[];
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

/** One line for all rules. */
async function unprotectedTables(database: ControlDatabase): Promise<Omit<Finding, 'check'>> {
  const all = await examineIsolation(database);
  const broken = all.filter(({ verdict }) => verdict === 'fail');
  const [first] = broken;
  if (first === undefined) {
    return { verdict: 'ok', detail: `${all.length} rules hold: no tenant's rows can be had by another` };
  }
  const others = broken.length === 1 ? '' : `, and ${broken.length - 1} more rules`;
  return { verdict: 'fail', detail: `not so: ${first.check} (${first.detail})${others}. See doctor --rls` };
}

/**
 * Holds every schema of tenants, the roles and what the roles may do against what row level tenancy asks. One finding a
 * rule; a rule that could not be asked is a finding, too.
 *
 * @throws AppError unavailable when the database cannot be reached
 */
export async function examineIsolation(database: ControlDatabase): Promise<Finding[]> {
  const findings: Finding[] = [];
  const look = async (check: string, { breach, query }: IsolationRule, values: unknown[]) => {
    try {
      const rows = await database.read((session) => session.query<{ name: string }>(query, values));
      const found = rows.map(({ name }) => name).toSorted();
      const detail = found.length === 0 ? 'holds' : `${listed(found)}: ${breach}`;
      findings.push({ check, verdict: found.length === 0 ? 'ok' : 'fail', detail, found });
    } catch (error) {
      if (error instanceof AppError && error.code === 'unavailable') throw error;
      findings.push({
        check,
        verdict: 'fail',
        detail: `could not be looked at: ${(error as Error).message}`,
      });
    }
  };
  for (const [check, rule] of Object.entries(isolationRules)) await look(check, rule, [null]);
  for (const [check, rule] of Object.entries(databaseRules)) await look(check, rule, []);
  return findings;
}

const listedAtMost = 10;

function listed(names: readonly string[]): string {
  const rest = names.length - listedAtMost;
  return names.slice(0, listedAtMost).join(', ') + (rest > 0 ? ` and ${rest} more` : '');
}
