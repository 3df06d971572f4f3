import { afterEach, expect, it, jest } from '@jest/globals';
import { killChildren, run } from '../support/child.ts';
import { useDatabase } from '../support/database.ts';
import { useFolder } from '../support/folder.ts';
import { rowsIn } from '../support/moving.ts';

// Many processes, one after another.
jest.setTimeout(90_000);

const database = useDatabase();
const folder = useFolder();
afterEach(killChildren);

const env = () => ({ ...database.env(), BCRYPT_COST: '4', LOG_LEVEL: 'silent' });
const tenantry = (args: string) => run(args.split(' '), { env: env(), cwd: folder() });
const places = () =>
  database.superuser(`select isolation, schema_name as at, moved_from as left from control.tenants`);

it('tenant move goes there and back, confirms, and says what it refuses', async () => {
  const owner = '--owner-email o@mover.test --owner-password a-long-password';
  const made = await tenantry(`tenant create mover ${owner} --json`);
  const { id } = JSON.parse(made.stdout) as { id: string };

  const moved = await tenantry('tenant move mover --isolation schema --wait --json');
  expect(moved).toMatchObject({ code: 0 });
  expect(JSON.parse(moved.stdout)).toMatchObject({
    kind: 'move',
    status: 'succeeded',
    result: { from: 'shared', to: 'tenant_mover' },
  });
  expect(await places()).toEqual([{ isolation: 'schema', at: 'tenant_mover', left: 'shared' }]);
  expect(await rowsIn(database, 'tenant_mover', id)).toEqual(await rowsIn(database, 'shared', id));

  const back = await tenantry('tenant move MOVER --isolation shared --wait');
  expect(back.code).toBe(0);
  expect(back.stdout).toMatch(/succeeded/);
  expect(await places()).toEqual([{ isolation: 'shared', at: 'shared', left: 'tenant_mover' }]);

  // Without --wait a service does it. As if the flip had been a minute ago: nobody reads there any more.
  await database.superuser(`update control.tenants set moved_at = moved_at - interval '1 minute'`);
  const confirmed = await tenantry('tenant move mover --confirm --wait');
  expect(confirmed.code).toBe(0);
  expect(await places()).toEqual([{ isolation: 'shared', at: 'shared', left: null }]);
  expect(await database.superuser(`select from pg_namespace where nspname = 'tenant_mover'`)).toEqual([]);

  const refusals = {
    'tenant move mover --isolation shared': [1, /already/],
    'tenant move mover --confirm': [1, /waits to be confirmed/],
    'tenant move nobody --isolation shared': [1, /There is no/],
    'tenant move mover': [2, /Either --isolation or --confirm/],
    'tenant move mover --isolation shared --confirm': [2, /Either --isolation or --confirm/],
    'tenant move mover --isolation own': [2, /either shared or schema/],
  } as const;
  for (const [args, [code, words]] of Object.entries(refusals)) {
    const refused = await tenantry(args);
    expect({ args, code: refused.code, stdout: refused.stdout }).toEqual({ args, code, stdout: '' });
    expect(refused.stderr).toMatch(words);
    expect(refused.stderr).not.toContain('    at ');
  }
});
