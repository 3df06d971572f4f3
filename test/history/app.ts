import { loadConfig } from '../../src/config.ts';
import { serve, untilSignal } from '../../src/serve.ts';
import { type Protection, without } from './sabotage.ts';

/** `src/main.ts` without one of its protections: `node --import tsx test/history/app.ts <protection>`. */
const serving = await serve(loadConfig(process.env, 'serve'), without(process.argv[2] as Protection));
await untilSignal();
await serving.stop();
