import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';

/** `npm run fuzz -- --requests 20000 --seed 1 [--only listProducts]`: test/api/fuzz.test.ts, for longer. */
const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '20000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    only: { type: 'string', default: '.' },
  },
});
const jest = 'node_modules/jest/bin/jest.js';
const args = ['--experimental-vm-modules', '--no-warnings=ExperimentalWarning', jest, 'test/api/fuzz'];
const env = {
  ...process.env,
  FUZZ_REQUESTS: values.requests,
  FUZZ_SEED: values.seed,
  FUZZ_ONLY: values.only,
};
spawn(process.execPath, args, { env, stdio: 'inherit' }).once('exit', (code) => {
  process.exitCode = code ?? 1;
});
