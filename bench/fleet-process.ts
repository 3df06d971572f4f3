import { pino } from 'pino';
import { buildControlPlane, buildDataPlane, createKernel } from '../src/build.ts';
import { loadConfig } from '../src/config.ts';
import type { Rung } from '../src/control/migrations/lock-ladder.ts';

/**
 * `tenantry migrate up` without its ladder of locks, to show what that is good for: it waits for its locks as long as it
 * takes, and everybody after it waits, too. fleet-process <parallel> <slugs…>. Prints what `--json` does.
 */
const [parallel, ...tenants] = process.argv.slice(2);
const endless: readonly Rung[] = [{ timeoutMs: 0, pauseMs: 0 }];
const say = (line: object) => void process.stdout.write(`${JSON.stringify(line)}\n`);

const kernel = createKernel(loadConfig(process.env, 'manage'), {
  logger: pino({ level: 'error' }, pino.destination(2)),
  migrations: { ladders: { lock: endless, patient: endless } },
});
const data = buildDataPlane(kernel);
const control = buildControlPlane(kernel, undefined, data);
const watching = data.db.start();
try {
  const report = await control.runner.up({ parallel: Number(parallel), tenants, onEvent: say });
  say({ type: 'report', ...report });
} finally {
  await watching;
  await control.stop();
  await data.stop();
}
