import { type Logger, pino } from 'pino';
import { createPasswords, type Passwords } from './auth/passwords.ts';
import { type Clock, systemClock } from './clock.ts';
import type { Config } from './config.ts';
import type { RunnerOptions } from './control/migrations/runner.ts';
import type { Step } from './control/tenants/service.ts';
import type { DatabaseOptions } from './db/index.ts';
import { buildLimiter, type Limiter } from './limiter.ts';
import { createTelemetry, type Telemetry } from './telemetry/telemetry.ts';

/** Parts that a test replaces. */
export interface Overrides {
  clock?: Clock;
  logger?: Logger;
  /** Where the migration ladders are. */
  migrationsFolder?: string;
  /** How runs of the fleet come by their locks, and judge what they apply: replaced to see what that is good for. */
  migrations?: Partial<Pick<RunnerOptions, 'ladders' | 'lint'>>;
  /** Told of every place in the work of the control plane that a crash could come after. */
  step?: Step;
  /** How the data plane remembers and chooses: replaced to see that tests notice when a protection is missing. */
  database?: Pick<DatabaseOptions, 'sightings' | 'route'>;
}

/**
 * Lines are written some at a time: a system call each costs more than making them. A process that is killed takes those
 * of the last moment with it; one that ends in any other way writes them first.
 */
const logBuffer = { sync: false, minLength: 4096, periodicFlush: 200 };

/** What everything else stands on. */
export interface Kernel {
  readonly config: Config;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly passwords: Passwords;
  readonly telemetry: Telemetry;
  readonly limiter: Limiter;
  readonly migrationsFolder: string | undefined;
  readonly migrations: Overrides['migrations'];
  readonly step: Step | undefined;
  readonly database: Overrides['database'];
}

export function createKernel(config: Config, overrides: Overrides = {}): Kernel {
  const { clock = systemClock, logger = pino({ level: config.LOG_LEVEL }, pino.destination(logBuffer)) } =
    overrides;
  return {
    config,
    clock,
    logger,
    limiter: buildLimiter({ config, clock, logger }),
    telemetry: createTelemetry({ slowStatementMs: config.SLOW_QUERY_MS, clock, logger }),
    passwords: createPasswords(config.BCRYPT_COST),
    migrationsFolder: overrides.migrationsFolder,
    migrations: overrides.migrations,
    step: overrides.step,
    database: overrides.database,
  };
}

/** Only the words: node-postgres hangs the whole connection on the error. */
export function idleErrorLog(logger: Logger) {
  return (error: Error, pool: string) =>
    logger.warn({ pool, error: error.message }, 'an idle connection was lost');
}
