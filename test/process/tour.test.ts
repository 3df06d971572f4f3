import { afterAll, beforeAll, expect, it, jest } from '@jest/globals';
import { execFile } from 'node:child_process';
import { readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { resetCluster } from '../../cluster/cluster.ts';
import { killChildren, program, repository } from '../support/child.ts';
import { type Development, startDevelopment, stopDevelopment } from '../support/development.ts';
import { useFolder } from '../support/folder.ts';

/** What the documentation tells to type is typed here, as it stands there, beside `tenantry dev`. */
jest.setTimeout(120_000);
const execute = promisify(execFile);

let development: Development;
afterAll(async () => {
  await stopDevelopment(development);
  await killChildren();
  await resetCluster(path.join(folder(), '.tenantry', 'cluster'));
});
const folder = useFolder();
beforeAll(async () => {
  development = await startDevelopment(folder());
});

/** The code of one section, block by block. */
async function blocksOf(file: string, heading: string, language: string): Promise<string[]> {
  const text = await readFile(path.join(repository, file), 'utf8');
  const section = text.split(/^(?=## )/m).find((each) => each.startsWith(`## ${heading}\n`)) ?? '';
  return [...section.matchAll(/^```(\w+)\n(.*?)^```$/gms)].flatMap(([, kind, code = '']) =>
    kind === language ? [code] : [],
  );
}

const here = (code: string) =>
  code
    .replaceAll('http://127.0.0.1:3000', development.tenantUrl)
    .replaceAll('http://127.0.0.1:3001', development.adminUrl);

it('the five minutes with curl of the README do what it says', async () => {
  const blocks = await blocksOf('README.md', 'Five minutes with curl', 'sh');
  // Each ends with a line that nothing prints.
  const script = [
    'set -euo pipefail',
    `npx() { shift; ${process.execPath} ${program} "$@"; }`,
    ...blocks.map((block) => `${here(block)}\nprintf '\\n=====\\n'`),
  ].join('\n');
  const { PATH = '', HOME = '' } = process.env;
  const { stdout } = await execute('bash', ['-c', script], {
    cwd: folder(),
    env: { PATH, HOME },
    timeout: 100_000,
  });
  const [, onboarded, , reads, crossing, orders, fleet] = stdout
    .split('\n=====\n')
    .map((part) => part.trim());

  expect(onboarded?.split('\n')).toEqual([
    expect.stringMatching(/^\d{4}_/),
    expect.stringMatching(/^\d{4}_/),
  ]);
  expect(reads?.split(/\r?\n/)).toEqual([
    expect.stringMatching(/^served-by: (replica-1; reason=caught-up|primary; reason=behind)/i),
    expect.stringMatching(/^served-by: (replica-1; reason=fresh|primary; )/i),
  ]);
  const answers = (text = '') =>
    text
      .split(/(?<=\})\s*(?=\{)/)
      .map((each) => JSON.parse(each) as Record<string, unknown>)
      .map(({ requestId: _id, ...answer }) => answer);
  const [foreign, unknown, claimed, unclaimed] = answers(crossing);
  expect(foreign).toMatchObject({ status: 404, code: 'not_found' });
  expect(foreign).toEqual(unknown);
  expect(claimed).toMatchObject({ status: 403, code: 'tenant_mismatch' });
  expect(unclaimed).toMatchObject({ status: 401 });
  const [sold, refused] = answers(orders);
  expect(sold).toMatchObject({ status: 'placed', totalCents: 2970 });
  expect(refused).toMatchObject({ status: 409, code: 'insufficient_stock' });
  expect(fleet).toMatch(/initech/);
  expect(fleet).toMatch(/hooli/);
  expect(fleet).toMatch(/"role":"primary"/);
});

it('the typed client is made by its one line, compiles, and runs its tour', async () => {
  const [line = ''] = await blocksOf('docs/api.md', 'A typed client', 'sh');
  const [tour = ''] = await blocksOf('docs/api.md', 'A typed client', 'ts');
  const at = (file: string) => path.join(folder(), file);
  const node = (...args: string[]) =>
    execute(process.execPath, args, { cwd: folder(), env: { TENANTRY_URL: development.tenantUrl } });
  await symlink(path.join(repository, 'node_modules'), at('node_modules'));
  await writeFile(at('package.json'), '{"type":"module"}');
  await writeFile(at('tour.ts'), tour);
  await writeFile(
    at('tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        ...{ target: 'es2023', module: 'nodenext', types: ['node'], noEmit: true, skipLibCheck: false },
        ...{ strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true },
      },
      files: ['tour.ts', 'tenantry.d.ts'],
    }),
  );

  // As npx would, with what `npm ci` has brought.
  const [npx, ...words] = here(line).trim().split(' ');
  const generator = words.indexOf('openapi-typescript');
  expect([npx, ...words.slice(0, generator)]).toEqual([
    'npx',
    '-p',
    'typescript@5.9',
    '-p',
    'openapi-typescript@7',
  ]);
  const support = (file: string) => path.join(repository, 'test/support', file);
  await node(
    ...['--import', support('typescript5.mjs'), 'node_modules/openapi-typescript/bin/cli.js'],
    ...words.slice(generator + 1),
  );

  await node('node_modules/typescript/bin/tsc', '-p', '.');
  const { stdout } = await node('--import', 'tsx', 'tour.ts');
  const [read, ...others] = stdout.trim().split('\n');
  expect(read).toMatch(/^Cover sheet (replica-1|primary); reason=/);
  expect(others).toEqual(['not_found', 'true', '4', 'precondition_failed', '2970', 'insufficient_stock']);

  // That it compiled says something.
  await writeFile(at('tour.ts'), tour.replace('?.sku ===', '?.sko ==='));
  await expect(node('node_modules/typescript/bin/tsc', '-p', '.')).rejects.toMatchObject({
    stdout: expect.stringContaining("'sko' does not exist") as unknown,
  });
});
