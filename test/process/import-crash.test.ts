import { afterEach, beforeAll, expect, it, jest } from '@jest/globals';
import { execFile } from 'node:child_process';
import { open, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { killChildren, builtProgram, run, start } from '../support/child.ts';
import { useDatabase } from '../support/database.ts';
import { useFolder } from '../support/folder.ts';
import { startTenantry, testSecret } from '../support/tenantry.ts';
import { exportOf, taken } from '../support/transfer.ts';
import { until } from '../support/until.ts';
import { unchanged } from '../support/untouched.ts';

jest.setTimeout(60_000);

const database = useDatabase();
const folder = useFolder();
afterEach(killChildren);

let text = '';
beforeAll(async () => {
  const service = await startTenantry(database);
  const tenant = await service.onboard('whole', 'shared');
  await database.superuser(
    `insert into shared.products (tenant_id, id, sku, name, price_cents, currency, stock)
     select $1, gen_random_uuid(), n, 'x', 1, 'USD', 1 from generate_series(1, 20000) n`,
    [tenant.id],
  );
  await database.caughtUp();
  text = await exportOf(service, 'whole');
  await service.tenantry.stop();
});

const env = () => ({ ...database.env(), JWT_SECRET: testSecret, LOG_LEVEL: 'silent' });
const importing = () =>
  database.superuser<{ state: string; written: boolean }>(
    `select state, backend_xid is not null as written from pg_stat_activity
     where datname = current_database() and application_name = 'tenantry-migrate'`,
  );

it.each(['shared', 'schema'])(
  'kill -9 in the middle of an import (%s) leaves nothing of it',
  async (isolation) => {
    const pipe = path.join(folder(), `${isolation}.pipe`);
    await promisify(execFile)('mkfifo', [pipe]);
    await unchanged(database, async () => {
      const child = start(
        builtProgram(),
        ['tenant', 'import', pipe, '--slug', 'halved', '--isolation', isolation],
        {
          env: env(),
          cwd: folder(),
        },
      );
      const end = await open(pipe, 'w');
      // Three quarters: it has stored more than one batch, and waits for the rest.
      await end.write(text.slice(0, Math.floor(text.length * 0.75)));
      await until(
        async () =>
          (await importing()).some(({ state, written }) => written && state === 'idle in transaction'),
        'rows to be stored',
      );
      child.kill('SIGKILL');
      await child.ended();
      await end.close();
      await until(async () => (await importing()).length === 0, 'the server to notice');
    });
    expect(await database.superuser(`select from pg_namespace where nspname = 'tenant_halved'`)).toEqual([]);

    const file = path.join(folder(), 'whole.ndjson');
    await writeFile(file, text);
    const again = await run(['tenant', 'import', file, '--slug', 'halved', '--isolation', isolation], {
      env: env(),
      cwd: folder(),
    });
    const rows = taken(text).rows.length;
    expect(again.stdout).toMatch(new RegExp(`^imported halved .*: ${rows} rows\n$`));
    await database.superuser(`delete from control.tenants where slug = 'halved'`);
    await database.superuser('drop schema if exists tenant_halved cascade');
  },
);
