import { afterEach, beforeAll, expect, it } from '@jest/globals';
import { v7 as uuidv7 } from 'uuid';
import { systemClock } from '../../src/clock.ts';
import { takeLease } from '../../src/control/migrations/lease.ts';
import { insertRun } from '../../src/control/migrations/runs.ts';
import { createLentPool } from '../../src/db/index.ts';
import { killChildren, run } from '../support/child.ts';
import { useDatabase } from '../support/database.ts';
import { useFleet } from '../support/fleet.ts';
import { useFolder } from '../support/folder.ts';

const database = useDatabase();
const fleet = useFleet(database);
const folder = useFolder();
beforeAll(() => fleet.onboard('acme'));
afterEach(killChildren);
const left = async () => (await fleet.control.drift.find()).findings;
const tenantry = (args: string) => run(args.split(' '), { env: database.env(), cwd: folder() });
const broken = `drop index tenant_acme.products_sku_key; alter table tenant_acme.products add column note text`;

it('drift ends with 0 where there is none', async () => {
  const { code, stdout } = await tenantry('migrate drift');
  expect({ code, stdout }).toEqual({
    code: 0,
    stdout: expect.stringMatching(/^No differences in 2 schemas, in \d+ ms\n$/),
  });
});

it('drift tells what differs, in words and as values, and ends with 1', async () => {
  await database.superuser(broken);
  const [text, json, other] = await Promise.all([
    tenantry('migrate drift'),
    tenantry('migrate drift --tenant acme --json'),
    tenantry('migrate drift --tenant nobody'),
  ]);
  expect(text.code).toBe(1);
  expect(text.stdout).toContain('tenant_acme: the index products_sku_key is missing\n');
  expect(text.stdout).toContain('2 differences in 1 schemas (2 compared');
  expect(json.code).toBe(1);
  expect(JSON.parse(json.stdout)).toMatchObject({
    schemas: 1,
    findings: [
      { schema: 'tenant_acme', kind: 'missing', object: 'index', name: 'products_sku_key', repair: 'safe' },
      { kind: 'extra', object: 'column', name: 'products.note', found: 'text', repair: 'by hand' },
    ],
  });
  expect(other).toMatchObject({ code: 1, stderr: expect.stringContaining('There is no tenant nobody.') });
});

it('repair --dry-run prints what psql could be given, and does nothing', async () => {
  const { code, stdout } = await tenantry('migrate repair --dry-run');
  expect(code).toBe(4);
  expect(stdout.split('\n')).toEqual([
    'set search_path = "tenant_acme", pg_temp;',
    '-- tenant_acme: the index products_sku_key is missing',
    expect.stringMatching(/^CREATE UNIQUE INDEX CONCURRENTLY products_sku_key ON products .*;$/),
    '-- tenant_acme: column products.note is there, and no migration makes it, by hand',
    '-- alter table "products" drop column "note";',
    '',
  ]);
  expect(await left()).toHaveLength(2);
});

it('repair does nothing while a run over the fleet is under way, and ends with 5', async () => {
  const { database: control } = fleet.control;
  const run = uuidv7();
  await control.write((session) => insertRun(session, { id: run, options: {}, requestedBy: 'somebody' }));
  const url = database.env()['DATABASE_ADMIN_URL'] ?? '';
  const connect = (applicationName: string) =>
    createLentPool({ url, max: 1, applicationName, onError: () => undefined });
  const lease = await takeLease({ database: control, clock: systemClock, connect }, run, 'somebody');
  try {
    const [{ code, stderr }, drift] = await Promise.all([
      tenantry('migrate repair'),
      tenantry('migrate drift'),
    ]);
    expect({ code, stderr }).toEqual({
      code: 5,
      stderr: expect.stringContaining('holds the lease: somebody'),
    });
    expect(drift.stderr).toContain('A run over the fleet is under way');
    expect(await left()).toHaveLength(2);
  } finally {
    await lease.release();
  }
});

it('repair mends what is safe, tells how to do the rest, and ends with 4; with 0 when nothing is left', async () => {
  const first = await tenantry('migrate repair --tenant acme');
  expect(first.code).toBe(4);
  expect(first.stdout.split('\n')).toEqual([
    'mended: tenant_acme: the index products_sku_key is missing',
    'by hand: tenant_acme: column products.note is there, and no migration makes it',
    'set search_path = "tenant_acme", pg_temp;',
    '-- tenant_acme: column products.note is there, and no migration makes it, by hand',
    '-- alter table "products" drop column "note";',
    '1 mended, 0 failed, 0 skipped, 1 to be done by hand',
    '',
  ]);
  await database.superuser('alter table tenant_acme.products drop column note');
  expect(await tenantry('migrate repair --json')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('"results": []'),
  });
});

it('many schemas that differ alike share a line', async () => {
  for (const slug of ['bee', 'cee', 'dee']) await fleet.onboard(slug);
  for (const slug of ['acme', 'bee', 'cee', 'dee']) {
    await database.superuser(`drop index tenant_${slug}.products_name_idx`);
  }
  const { stdout } = await tenantry('migrate drift');
  expect(stdout).toContain(
    '4 schemas (tenant_acme, tenant_bee, tenant_cee, …): the index products_name_idx is missing\n4 differences in 4 schemas',
  );
  expect((await tenantry('migrate repair')).stdout).toContain('4 mended, 0 failed');
});
