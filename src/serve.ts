import { setTimeout as sleep } from 'node:timers/promises';
import { build, type Overrides } from './build.ts';
import type { Config } from './config.ts';
import { createHttpServer } from './http/server.ts';

/** A running service: both APIs listening. */
export interface Serving {
  tenantPort: number;
  /** Undefined without DATABASE_ADMIN_URL. */
  adminPort: number | undefined;
  /** Drains: requests under way end, then connections to PostgreSQL are closed. May be called twice. */
  stop(): Promise<void>;
}

/**
 * How long a stopping service goes on taking connections, so that load balancers see `/readyz` fail before the port
 * closes. In development nobody balances.
 */
const noticeMs = 2000;

/** @throws when a port is taken, the database cannot be reached, or its role is unfit; nothing is left running */
export async function serve(config: Config, overrides: Overrides = {}): Promise<Serving> {
  const tenantry = build(config, overrides);
  const { logger } = tenantry;
  const unreadable = (facts: object) => logger.info(facts, 'refused what is no request');
  const tenantServer = createHttpServer(tenantry.tenantApp, { unreadable });
  const adminServer = tenantry.adminApp && createHttpServer(tenantry.adminApp, { unreadable });
  let stopping: Promise<void> | undefined;

  async function stop(): Promise<void> {
    tenantry.beginDraining();
    if (config.production) await sleep(Math.min(noticeMs, config.SHUTDOWN_GRACE_MS / 5));
    const grace = config.SHUTDOWN_GRACE_MS;
    const [ofTenants, ofAdmin = 0] = await Promise.all([
      tenantServer.close(grace),
      ...(adminServer === undefined ? [] : [adminServer.close(grace)]),
    ]);
    const cutOff = ofTenants + ofAdmin;
    if (cutOff > 0) logger.warn({ cutOff }, 'requests were cut off at the end of the grace period');
    await tenantry.stop();
    logger.info('stopped');
  }

  try {
    await tenantry.start();
    const tenantPort = await tenantServer.listen(config.PORT);
    const adminPort = await adminServer?.listen(config.ADMIN_PORT);
    logger.info({ tenantPort, adminPort }, 'listening');
    return { tenantPort, adminPort, stop: () => (stopping ??= stop()) };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A second signal within this time is the same one: a terminal and npm both pass on Ctrl-C. */
const sameSignalMs = 500;

/** Resolves at SIGINT or SIGTERM. One more of them, a moment later, ends the process at once. */
export function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    let first: number | undefined;
    const onSignal = () => {
      if (first === undefined) {
        first = performance.now();
        resolve();
      } else if (performance.now() - first > sameSignalMs) process.exit(1);
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
  });
}
