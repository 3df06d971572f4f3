import type { Config } from '../config.ts';
import { type Database, maxSnapshots, schemaName } from '../db/index.ts';

/** What one process opens on the primary at most, held against what the primary takes. */
export interface ConnectionBudget {
  /** By one process. */
  needed: number;
  /** By everybody but superusers. */
  max: number;
  /** Open at the moment, ours included. */
  open: number;
  /** Processes like this one that the primary has room for, if nobody else comes. */
  processes: number;
}

/** Beside the serving pool. */
const besideThePool = { probe: 1, control: 4, migrator: 4, snapshots: maxSnapshots, jobs: 2 };

export async function connectionBudget(
  config: Pick<Config, 'DATABASE_POOL_MAX' | 'DATABASE_ADMIN_URL'>,
  db: Pick<Database, 'lookUp'>,
): Promise<ConnectionBudget> {
  const [row] = await db.lookUp<{ max: number; open: number }>(
    schemaName('control'),
    `select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true)::int, 0) as max,
       (select sum(numbackends)::int from pg_stat_database) as open`,
    [],
  );
  const { max = 0, open = 0 } = row ?? {};
  const { probe, control, migrator, snapshots, jobs } = besideThePool;
  const managing = config.DATABASE_ADMIN_URL === undefined ? 0 : control + migrator + snapshots + jobs;
  const needed = config.DATABASE_POOL_MAX + probe + managing;
  return { needed, max, open, processes: Math.floor(max / needed) };
}

/** What is wrong with it, in words; undefined when nothing is. To be asked before the process has opened many. */
export function overdrawn({ needed, max, open }: ConnectionBudget): string | undefined {
  if (needed > max) return `one process may open ${needed} connections on the primary, which takes ${max}`;
  const left = max - open;
  if (needed <= left) return undefined;
  return `this process may open ${needed} connections on the primary, which has ${left} of ${max} left`;
}

/** Compares when a process starts; that it cannot be compared is no reason not to start. */
export async function warnOfConnections(
  config: Config,
  db: Parameters<typeof connectionBudget>[1],
  warn: (line: string) => void,
): Promise<void> {
  try {
    const tooMany = overdrawn(await connectionBudget(config, db));
    if (tooMany !== undefined) warn(`connections: ${tooMany}`);
  } catch (error) {
    warn(`connections: could not be counted: ${(error as Error).message}`);
  }
}
