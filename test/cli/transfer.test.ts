import { afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { killChildren, builtProgram, run, start } from '../support/child.ts';
import { useDatabase } from '../support/database.ts';
import { useFolder } from '../support/folder.ts';
import { testSecret } from '../support/tenantry.ts';
import { taken } from '../support/transfer.ts';
import { until } from '../support/until.ts';
import { unchanged } from '../support/untouched.ts';

// Many processes, one after another.
jest.setTimeout(90_000);

const database = useDatabase();
const folder = useFolder();
afterEach(killChildren);

const env = () => ({ ...database.env(), BCRYPT_COST: '4', JWT_SECRET: testSecret, LOG_LEVEL: 'silent' });
const tenantry = (args: string, more: Record<string, string> = {}) =>
  run(args.split(' '), { env: { ...env(), ...more }, cwd: folder() });
const inFolder = (name: string) => path.join(folder(), name);

beforeAll(async () => {
  const made = await tenantry(
    'tenant create origin --owner-email o@origin.test --owner-password a-long-password',
  );
  expect(made).toMatchObject({ code: 0, stderr: '' });
});

describe('tenant export and import', () => {
  // A user, and the event that it was made.
  it('go by file, complete or not there, and readable by nobody else', async () => {
    const exported = await tenantry('tenant export origin --output origin.ndjson --json');
    expect(exported).toMatchObject({ code: 0, stderr: '' });
    const report = JSON.parse(exported.stdout) as { rows: number };
    expect(report).toMatchObject({ tenant: { slug: 'origin' }, rows: 2, node: expect.any(String) });
    expect(statSync(inFolder('origin.ndjson')).mode & 0o777).toBe(0o600);
    expect(existsSync(inFolder('origin.ndjson.part'))).toBe(false);

    const imported = await tenantry(
      'tenant import origin.ndjson --slug second --name Second --isolation schema --json',
    );
    expect(imported).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(imported.stdout)).toMatchObject({
      slug: 'second',
      name: 'Second',
      isolation: 'schema',
      rows: 2,
    });
    const text = await tenantry('tenant import origin.ndjson --slug third');
    expect(text.stdout).toMatch(/^imported third \(shared, [\w-]{36}\): 2 rows\n$/);
  });

  it('go by pipe: stdout is the export and nothing else', async () => {
    const exported = await tenantry('tenant export origin');
    expect(exported.code).toBe(0);
    expect(taken(exported.stdout).manifest.tenant['slug']).toBe('origin');
    expect(exported.stderr).toMatch(/^exported origin from [\w-]+: 2 rows, \d+ bytes\n$/);
    const { stdout } = await promisify(execFile)(
      'sh',
      [
        '-c',
        '"$0" "$1" tenant export origin | "$0" "$1" tenant import - --slug piped',
        process.execPath,
        builtProgram(),
      ],
      { cwd: folder(), env: { PATH: process.env['PATH'], ...env() } },
    );
    expect(stdout).toMatch(/^imported piped /);
  });

  it('say what is wrong, with the code of an error, and leave nothing', async () => {
    await tenantry('tenant export origin --output good.ndjson');
    const good = readFileSync(inFolder('good.ndjson'), 'utf8');
    writeFileSync(inFolder('changed.ndjson'), good.replace(/("email" ?: ?")o@/, '$1p@'));
    writeFileSync(inFolder('cut.ndjson'), good.slice(0, -200));
    const other = { JWT_SECRET: 'the key of another installation, 32 characters or more' };
    await unchanged(database, async () => {
      const unknown = await tenantry('tenant export nobody --output nobody.ndjson');
      expect(unknown).toEqual({ code: 1, stdout: '', stderr: 'There is no tenant nobody.\n' });
      expect(existsSync(inFolder('nobody.ndjson'))).toBe(false);
      expect(existsSync(inFolder('nobody.ndjson.part'))).toBe(false);
      const [changed, cut, missing, taken, isolation, foreign] = await Promise.all([
        tenantry('tenant import changed.ndjson --slug bad'),
        tenantry('tenant import cut.ndjson --slug bad'),
        tenantry('tenant import missing.ndjson --slug bad'),
        tenantry('tenant import good.ndjson'),
        tenantry('tenant import good.ndjson --slug bad --isolation own'),
        tenantry('tenant import good.ndjson --slug bad', other),
      ]);
      expect(changed).toEqual({
        code: 1,
        stdout: '',
        stderr: 'The rows of users are not those that were exported.\n',
      });
      expect(cut.code).toBe(1);
      expect(missing.code).toBe(1);
      expect(missing.stderr).toContain('missing.ndjson');
      expect(taken).toMatchObject({ code: 1, stderr: 'A tenant has this slug already.\n' });
      expect(isolation.code).toBe(2);
      expect(foreign.code).toBe(1);
      expect(foreign.stderr).toContain('signature');
    });
    expect((await tenantry('tenant import good.ndjson --slug foreign --unsigned', other)).code).toBe(0);
  });

  it('an export that is interrupted ends with 130 and leaves no file', async () => {
    await database.superuser(
      `insert into shared.products (tenant_id, id, sku, name, description, price_cents, currency, stock)
       select id, gen_random_uuid(), n, 'x', repeat('x', 400), 1, 'USD', 1
       from control.tenants, generate_series(1, 50000) n where slug = 'origin'`,
    );
    await promisify(execFile)('mkfifo', [inFolder('slow.ndjson.part')]);
    const exporting = start(builtProgram(), 'tenant export origin --output slow.ndjson'.split(' '), {
      env: env(),
      cwd: folder(),
    });
    // Takes the beginning, and then nothing more.
    const taker = start(
      '-e',
      [
        `require('fs').createReadStream('slow.ndjson.part').once('data', () => {}).pause(); setInterval(() => {}, 1000)`,
      ],
      {
        cwd: folder(),
      },
    );
    const waiting = `select from pg_stat_activity where application_name = 'tenantry-snapshot' and wait_event = 'ClientWrite'
      and datname = current_database()`;
    await until(async () => {
      const rows = await Promise.all([database.app(waiting), database.app(waiting, [], 0)]);
      return rows.flat().length > 0;
    }, 'the export to wait');
    // The write that is under way then fails when nobody waits for it any more.
    exporting.kill('SIGINT');
    taker.kill('SIGKILL');
    expect(await exporting.ended()).toMatchObject({ code: 130, stderr: 'interrupted\n' });
    expect(existsSync(inFolder('slow.ndjson'))).toBe(false);
    expect(existsSync(inFolder('slow.ndjson.part'))).toBe(false);
  });
});
