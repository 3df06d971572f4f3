import { expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { createLogLines } from '../support/log-lines.ts';
import { startTenantry } from '../support/tenantry.ts';

const database = useDatabase();

it.each([
  ['warns when its pools may open more connections than the primary takes', '1000', 1],
  ['is silent about them otherwise', '5', 0],
])('a start %s', async (_name, poolMax, warnings) => {
  const log = createLogLines();
  const { tenantry } = await startTenantry(database, {
    env: { DATABASE_POOL_MAX: poolMax },
    overrides: { logger: log.logger },
  });
  await tenantry.stop();
  const words = log.lines().map(({ msg }) => String(msg));
  expect(words.filter((msg) => /^connections: .* on the primary/.test(msg))).toHaveLength(warnings);
});
