import type { Logger } from 'pino';
import type { Clock } from './clock.ts';
import type { Config } from './config.ts';
import { createRedisMemory, createSharedSightings, createSightingStore } from './db/index.ts';

interface SightingParts {
  config: Config;
  clock: Clock;
  logger: Logger;
}

/** What actors wrote and saw: in the memory of this process and, with REDIS_URL, what they wrote in Redis as well. */
export function buildSightings({ config, clock, logger }: SightingParts) {
  const windowMs = config.READ_AFTER_WRITE_WINDOW_MS;
  const makeLocal = (presentMs: () => number) => createSightingStore({ windowMs, clock, presentMs });
  // Redis takes no key that lives for 0 ms, and there is nothing to keep.
  if (config.REDIS_URL === undefined || windowMs === 0) {
    return { make: makeLocal, start: async () => undefined, stop: () => undefined };
  }
  const memory = createRedisMemory({ url: config.REDIS_URL, windowMs });
  let shared: ReturnType<typeof createSharedSightings> | undefined;
  return {
    make(presentMs: () => number) {
      shared = createSharedSightings({
        local: makeLocal(presentMs),
        memory,
        windowMs,
        clock,
        presentMs,
        onChange: (reachable) =>
          reachable
            ? logger.info('Redis answers again')
            : logger.warn('Redis does not answer: reads that would need it go to the primary'),
      });
      return shared;
    },
    start: () => memory.start(),
    stop() {
      shared?.stop();
      memory.stop();
    },
  };
}
