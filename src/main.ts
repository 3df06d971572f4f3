import { loadConfig } from './config.ts';
import { serve, untilSignal } from './serve.ts';

/** The service, as a container runs it. `tenantry serve` is the same with the CLI around it. */
try {
  const serving = await serve(loadConfig(process.env, 'serve'));
  await untilSignal();
  await serving.stop();
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}
