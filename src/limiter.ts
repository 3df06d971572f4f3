import type { Logger } from 'pino';
import { RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible';
import type { Clock } from './clock.ts';
import type { Config } from './config.ts';
import {
  createRedisConnection,
  createRowLimit,
  type Database,
  type RedisConnection,
  type RowLimit,
  type TenantLimits,
  within,
} from './db/index.ts';
import { createLoginGuard, type LoginGuard } from './http/login-guard.ts';
import {
  type Counted,
  type Counter,
  createTenantLimiter,
  type TenantLimiter,
  windowS,
} from './http/rate-limit.ts';

interface LimiterParts {
  config: Config;
  clock: Clock;
  logger: Logger;
}

/** What keeps tenants to their requests and guessers from passwords. */
export interface Limiter {
  /** Of tenants whose own limits do not say. */
  defaults: TenantLimits;
  tenants: TenantLimiter;
  logins: LoginGuard;
  rows(db: Database): RowLimit;
  start(): Promise<void>;
  stop(): void;
}

/** Whose rows count; what the service keeps for itself does not. */
const countedTables = ['users', 'products', 'orders', 'order_lines'];

/** Of failed logins. */
const guessingS = 900;

/** A request waits no longer for Redis, and after a failure Redis is left alone for a while. */
const patienceMs = 50;
const restMs = 250;
/** The limit is ours to compare with, for each tenant has another one; the library only counts. */
const points = Number.MAX_SAFE_INTEGER;

/** Counts in the memory of this process or, with REDIS_URL, in Redis, where all processes count together. */
export function buildLimiter({ config, clock, logger }: LimiterParts): Limiter {
  const redis =
    config.REDIS_URL === undefined ? undefined : createRedisConnection(config.REDIS_URL, 'tenantry-limits');
  let restUntilMs = -Infinity;

  /** Without Redis every process counts for itself: the limits are laxer then, and nobody is refused because of it. */
  async function shared<T>(ask: () => Promise<T>, otherwise: () => Promise<T>): Promise<T> {
    if (clock.monotonicMs() < restUntilMs) return otherwise();
    try {
      return await within(patienceMs, ask());
    } catch (error) {
      restUntilMs = clock.monotonicMs() + restMs;
      logger.debug({ error: (error as Error).message }, 'Redis does not count: this process does');
      return otherwise();
    }
  }

  /** @param name of what is counted, unlike that of all others */
  function counter(name: string, duration: number): Counter {
    const options = { keyPrefix: `tenantry:${name}`, points, duration };
    const local = counterOf(new RateLimiterMemory(options));
    return redis === undefined ? local : inRedis(redis, options, local, shared);
  }

  return {
    defaults: defaultsOf(config),
    tenants: createTenantLimiter(counter('requests', windowS)),
    logins: createLoginGuard({
      perAccount: { counter: counter('accounts', guessingS), max: config.LOGIN_FAILURES_PER_ACCOUNT },
      perAddress: { counter: counter('addresses', guessingS), max: config.LOGIN_FAILURES_PER_ADDRESS },
    }),
    rows: (db) => createRowLimit({ db, clock, tables: countedTables }),
    start: async () => redis?.start(),
    stop: () => redis?.stop(),
  };
}

/** Those that are set: what is absent must not hide what a tenant's own limits say. */
function defaultsOf(config: Config): TenantLimits {
  const all: TenantLimits = {
    requestsPerMinute: config.TENANT_REQUESTS_PER_MINUTE,
    concurrentRequests: config.TENANT_CONCURRENT_REQUESTS,
    rows: config.TENANT_MAX_ROWS,
    users: config.TENANT_MAX_USERS,
    apiKeys: config.TENANT_MAX_API_KEYS,
  };
  return Object.fromEntries(Object.entries(all).filter(([, limit]) => limit !== undefined));
}

type Library = Pick<RateLimiterMemory, 'penalty' | 'reward' | 'delete'>;

function counterOf(limiter: Library): Counter {
  return {
    async count(key): Promise<Counted> {
      const { consumedPoints, msBeforeNext } = await limiter.penalty(key);
      return { used: consumedPoints, resetMs: msBeforeNext };
    },
    async forgive(key) {
      await limiter.reward(key);
    },
    async forget(key) {
      await limiter.delete(key);
    },
  };
}

function inRedis(
  { client }: RedisConnection,
  options: ConstructorParameters<typeof RateLimiterMemory>[0],
  local: Counter,
  shared: <T>(ask: () => Promise<T>, otherwise: () => Promise<T>) => Promise<T>,
): Counter {
  const there = counterOf(
    new RateLimiterRedis({
      ...options,
      storeClient: client,
      useRedisPackage: true,
      rejectIfRedisNotReady: true,
    }),
  );
  return {
    count: (key) =>
      shared(
        () => there.count(key),
        () => local.count(key),
      ),
    forgive: (key) =>
      shared(
        () => there.forgive(key),
        () => local.forgive(key),
      ),
    forget: (key) =>
      shared(
        () => there.forget(key),
        () => local.forget(key),
      ),
  };
}
