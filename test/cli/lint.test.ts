import { afterEach, describe, expect, it } from '@jest/globals';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import type { Io } from '../../src/cli/io.ts';
import { lintCommand } from '../../src/cli/migrate-lint.ts';
import { killChildren, program, run, start } from '../support/child.ts';
import { useFolder } from '../support/folder.ts';

const folder = useFolder();
afterEach(killChildren);

describe("the project's own migrations", () => {
  it('are found clean from source and from the build, without a database and without an environment', async () => {
    const [source, build] = await Promise.all([
      start(program, ['migrate', 'lint'], { cwd: folder() }).ended(),
      run(['migrate', 'lint', '--json'], { cwd: folder() }),
    ]);
    expect(source).toMatchObject({ code: 0, stderr: '' });
    expect(source.stdout).toMatch(/^\d+ steps: 0 found, \d+ allowed$/m);
    expect(build).toMatchObject({ code: 0, stderr: '' });
    const { findings } = JSON.parse(build.stdout) as { findings: { allowed?: string }[] };
    expect(findings.filter(({ allowed }) => allowed === undefined)).toEqual([]);
  });
});

describe('a ladder with faults', () => {
  it('ends with 1, and each is told with what to do instead; what is allowed, with its reason', async () => {
    await ladders({
      '0001_first': { sql: 'alter table users drop column name' },
      '0002_second': {
        sql: 'create index users_name_idx on users (tenant_id, name)',
        more: `export const allow = { 'require-concurrent-index-creation': 'It is small.' };`,
      },
    });
    const { lines, notes, code } = await lint();
    expect({ notes, code }).toEqual({ notes: [], code: 1 });
    expect(lines).toEqual([
      'tenant/0001_first: contract',
      '  alter table users drop column name',
      '  Older builds still need it: the column name is dropped.',
      expect.stringMatching(/^ {2}instead: .*export const contract = true/),
      'tenant/0002_second: require-concurrent-index-creation (allowed)',
      '  create index users_name_idx on users (tenant_id, name)',
      expect.stringMatching(/^ {2}\w/),
      '  allowed: It is small.',
      '2 steps: 1 found, 1 allowed',
    ]);
    const json = await lint('--json');
    expect(json.code).toBe(1);
    expect(JSON.parse(json.lines.join('\n'))).toMatchObject({
      steps: 2,
      warnings: [],
      findings: [
        { ladder: 'tenant', step: '0001_first', rule: 'contract' },
        { ladder: 'tenant', step: '0002_second', allowed: 'It is small.' },
      ],
    });
  });
});

async function ladders(steps: Record<string, { sql: string; more?: string }>): Promise<void> {
  for (const ladder of ['control', 'tenant']) await mkdir(path.join(folder(), ladder), { recursive: true });
  for (const [step, { sql, more = '' }] of Object.entries(steps)) {
    const file = path.join(folder(), 'tenant', `${step}.ts`);
    await writeFile(file, `export const up = (knex) => knex.raw(${JSON.stringify(sql)});\n${more}\n`);
  }
}

async function lint(...args: string[]): Promise<{ lines: string[]; notes: string[]; code: number }> {
  const lines: string[] = [];
  const notes: string[] = [];
  const io: Io = {
    get env(): never {
      throw new Error('Lint needs no environment');
    },
    out: (line) => void lines.push(line),
    note: (line) => void notes.push(line),
    stdin: new PassThrough(),
    stdout: new PassThrough(),
    interactive: false,
  };
  const command = lintCommand(io, folder()).exitOverride();
  const code = await command.parseAsync(args, { from: 'user' }).then(
    () => 0,
    (error: { exitCode?: number }) => error.exitCode ?? -1,
  );
  return { lines, notes, code };
}
