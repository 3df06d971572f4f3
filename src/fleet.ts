import type { Logger } from 'pino';
import { type Clock, systemClock } from './clock.ts';
import { type Config, requireSetting } from './config.ts';
import { installQueue } from './control/jobs/worker.ts';
import { createAnnouncer } from './control/migrations/announcement.ts';
import { createHealth } from './control/migrations/health.ts';
import { refuseFaulty } from './control/migrations/judge.ts';
import { createMigrator, type Migrator } from './control/migrations/migrator.ts';
import { createRunner, type Runner, type RunnerOptions } from './control/migrations/runner.ts';
import { createPace, type Pace } from './control/tenants/purge/pace.ts';
import {
  type ControlDatabase,
  createControlDatabase,
  createDatabase,
  createLentPool,
  type Database,
  type DatabaseObserver,
  type NodeFigures,
  schemaName,
} from './db/index.ts';
import { statementObserver } from './telemetry/statements.ts';

/** What runs of the fleet stand on, wherever they are carried out. */
export interface RunnerParts {
  config: Config;
  clock: Clock;
  logger: Logger;
  database: ControlDatabase;
  migrator: Migrator;
  openMigrator: RunnerOptions['openMigrator'];
  connect: RunnerOptions['connect'];
  pace: Pace;
  /** Undefined where the replicas are not known. */
  nodes: (() => readonly NodeFigures[]) | undefined;
  migrations?: Partial<Pick<RunnerOptions, 'ladders' | 'lint'>> | undefined;
}

export function buildRunner(parts: RunnerParts): Runner {
  const { config, clock, logger, database, migrator, openMigrator, connect, pace, nodes } = parts;
  const adminUrl = requireSetting(config, 'DATABASE_ADMIN_URL');
  return createRunner({
    ...{ database, migrator, openMigrator, connect, clock },
    health: createHealth({
      ...{ database, nodes, clock },
      maxLagMs: config.MAX_REPLICA_LAG_MS,
      watch: config.MIGRATE_WATCH_URLS,
    }),
    rest: (tookMs, signal) => pace.rest(tookMs, signal),
    announce: createAnnouncer({ database, maxReplicaLagMs: config.MAX_REPLICA_LAG_MS }),
    lint: (pending) => refuseFaulty(pending, (line) => logger.warn(line)),
    installQueue: () => installQueue(adminUrl, database, logger),
    ...parts.migrations,
  });
}

/** For a connection that is needed for as long as a run takes. */
export function leaseConnections(
  url: string,
  onError: (error: Error, pool: string) => void,
): RunnerOptions['connect'] {
  return (applicationName) =>
    createLentPool({ url, max: 1, applicationName, onError: (error) => onError(error, 'lease') });
}

/** What the commands that migrate need, and nothing of what serves: they start in two thirds of the time. */
export interface Fleet {
  runner: Runner;
  /** Looks at the replicas from now on, where they are known. @throws what keeps it from it; runs go on without */
  watch(): Promise<void>;
  stop(): Promise<void>;
}

export function buildFleet(config: Config, logger: Logger): Fleet {
  const clock = systemClock;
  const url = requireSetting(config, 'DATABASE_ADMIN_URL');
  const onIdleError = (error: Error, pool: string) =>
    logger.warn({ pool, error: error.message }, 'an idle connection was lost');
  const observer = statementObserver({ slowStatementMs: config.SLOW_QUERY_MS, clock, logger });
  const database = createControlDatabase({
    ...{ url, clock, observer, onIdleError },
    schema: schemaName('control'),
  });
  const openMigrator: RunnerOptions['openMigrator'] = (own) =>
    createMigrator({ adminUrl: url, clock, ...own });
  const migrator = createMigrator({ adminUrl: url, clock });
  const served = servedBy(config, clock, observer, onIdleError);
  const nodes = served && (() => served.nodes());
  return {
    runner: buildRunner({
      ...{ config, clock, logger, database, migrator, openMigrator, nodes },
      connect: leaseConnections(url, onIdleError),
      pace: createPace({ nodes, maxLagMs: config.MAX_REPLICA_LAG_MS, clock }),
    }),
    async watch() {
      await served?.start();
    },
    async stop() {
      await migrator.stop();
      await database.stop();
      await served?.stop();
    },
  };
}

/** What tells how far replicas are behind; undefined where they are not known. */
function servedBy(
  config: Config,
  clock: Clock,
  observer: DatabaseObserver,
  onIdleError: (error: Error, pool: string) => void,
): Database | undefined {
  if (config.DATABASE_URL === undefined || config.DATABASE_REPLICA_URLS.length === 0) return undefined;
  return createDatabase({
    ...{ primaryUrl: config.DATABASE_URL, replicaUrls: config.DATABASE_REPLICA_URLS },
    ...{ poolMax: config.DATABASE_POOL_MAX, clock, observer, onIdleError },
    prepared: config.DATABASE_PREPARED_STATEMENTS === 'on',
    readAfterWriteWindowMs: config.READ_AFTER_WRITE_WINDOW_MS,
    maxReplicaLagMs: config.MAX_REPLICA_LAG_MS,
  });
}
