import { pino } from 'pino';
import { buildControlPlane, createKernel } from '../../src/build.ts';
import { loadConfig } from '../../src/config.ts';
import type { IdempotentRequest } from '../../src/control/idempotency.ts';
import type { CreateTenant } from '../../src/control/tenants/schema.ts';

/**
 * A process that dies, by SIGKILL, at a named step. argv: the step, and what it does: `create` with the input and the
 * request as JSON, `tend`, which looks after schemas that wait, or `work`, which runs jobs. Its steps are told on stdout, so that a test can list them.
 */
const [, , fatal = '', task = '', json = ''] = process.argv;
const config = loadConfig(process.env, 'manage');
const control = buildControlPlane(
  createKernel(config, {
    logger: pino({ level: 'silent' }),
    async step(name) {
      await new Promise<void>((resolve) => process.stdout.write(`${name}\n`, () => resolve()));
      if (name === fatal) process.kill(process.pid, 'SIGKILL');
    },
  }),
);
if (task === 'create') {
  const { input, request } = JSON.parse(json) as { input: CreateTenant; request: IdempotentRequest };
  await control.tenants.createOnce(input, request);
  await control.stop();
} else if (task === 'tend') {
  await control.warm.tend();
  await control.stop();
} else control.worker.start();
