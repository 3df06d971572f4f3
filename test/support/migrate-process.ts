import { pino } from 'pino';
import { buildControlPlane, createKernel } from '../../src/build.ts';
import { loadConfig } from '../../src/config.ts';

/** A runner of the fleet, to be killed. argv: the folder of the ladders. Tells its events as lines of JSON. */
const kernel = createKernel(loadConfig(process.env, 'manage'), {
  logger: pino({ level: 'silent' }),
  migrationsFolder: process.argv[2] ?? '',
  // Steps of tests are short rather than good.
  migrations: { lint: async () => undefined },
});
const control = buildControlPlane(kernel);
const say = (line: object) => void process.stdout.write(`${JSON.stringify(line)}\n`);
try {
  const { results, ...report } = await control.runner.up({ parallel: 4, onEvent: say });
  say({ type: 'report', ...report, failed: results.filter(({ outcome }) => outcome === 'failed') });
} catch (error) {
  say({ type: 'refused', error: (error as Error).message });
  process.exitCode = 1;
}
await control.stop();
