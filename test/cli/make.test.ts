import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** What a resource is written into, and what checks it. */
const copied = [
  ...['src', 'migrations', 'seeds', 'test', 'bin', 'cluster', 'demo', 'bench', 'docs'],
  ...[
    'package.json',
    'tsconfig.json',
    'tsconfig.build.json',
    'biome.json',
    'jest.config.js',
    'knexfile.ts',
    'knexfile.js',
  ],
];

let project = '';
beforeAll(async () => {
  project = await mkdtemp(path.join(os.tmpdir(), 'tenantry-make-'));
  for (const entry of copied)
    await cp(path.join(root, entry), path.join(project, entry), { recursive: true });
  await symlink(path.join(root, 'node_modules'), path.join(project, 'node_modules'));
  await writeFile(path.join(project, '.gitignore'), 'node_modules\n'); // not a folder there
}, 60_000);
afterAll(() => rm(project, { recursive: true, force: true }));

function run(command: string, args: string[]): Promise<{ code: number; out: string }> {
  return new Promise((resolve) => {
    execFile(
      command,
      args,
      { cwd: project, env: process.env, maxBuffer: 1 << 24 },
      (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code ?? 1), out: stdout + stderr });
      },
    );
  });
}
const tenantry = (...args: string[]) => run(process.execPath, ['bin/tenantry.js', ...args]);
const tool = (name: string, ...args: string[]) => run(path.join('node_modules', '.bin', name), args);

describe('tenantry make resource', () => {
  it('writes what is formatted, compiles and keeps to the rooms, twice over', async () => {
    const first = await tenantry(
      ...[
        'make',
        'resource',
        'invoices',
        'number:text:unique',
        'totalCents:money',
        'dueAt:time',
        'note?:text',
      ],
    );
    expect(first).toEqual({ code: 0, out: expect.stringContaining('src/features/invoices/schema.ts') });
    expect(await tenantry('make', 'resource', 'credit-notes', 'amount:integer')).toMatchObject({ code: 0 });
    expect(await tool('biome', 'format', '.')).toMatchObject({ code: 0 });
    const compiled = await tool('tsc', '--noEmit');
    expect(compiled).toEqual({ code: 0, out: compiled.out });
  }, 120_000);

  it('serves it, and has it guarded as every table', async () => {
    const { code, out } = await run(process.execPath, [
      ...['--experimental-vm-modules', '--no-warnings', 'node_modules/jest/bin/jest.js'],
      ...['test/architecture', 'test/api/invoices', 'test/api/credit-notes', 'test/isolation/catalog'],
    ]);
    expect([code, out]).toEqual([0, expect.stringMatching(/^Tests: +\d+ passed, \d+ total$/m)]);
  }, 300_000);

  it.each([
    [['invoices', 'name:text'], 'is there already'],
    [['invoice', 'name:text'], 'plural'],
    [['Receipts', 'name:text'], 'plural'],
    [['receipts'], 'missing required argument'],
    [['receipts', 'name'], 'is no field'],
    [['receipts', 'name:varchar'], 'is no field'],
    [['receipts', 'id:text'], 'has a field id already'],
    [['receipts', 'a:text', 'a:text'], 'twice'],
    [['receipts', 'total:money:unique'], 'unique'],
    [['receipts', 'name:text:unique'], 'not unique'],
    [['receipts', 'name?:text:unique'], 'unique'],
  ])('%j is refused, and nothing is written', async (args, words) => {
    const before = await readFile(path.join(project, 'src/build.ts'), 'utf8');
    const { code, out } = await tenantry('make', 'resource', ...args);
    expect([code, out]).toEqual([expect.any(Number), expect.stringContaining(words)]);
    expect(code).toBeGreaterThan(0);
    expect(await readFile(path.join(project, 'src/build.ts'), 'utf8')).toBe(before);
  });
});
