import { afterEach, describe, expect, it } from '@jest/globals';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { killChildren, repository, run } from '../support/child.ts';
import { useFolder } from '../support/folder.ts';

const folder = useFolder();
afterEach(killChildren);

const tenantry = (args: string[], env: Record<string, string> = {}) => run(args, { env, cwd: folder() });

const nobody = 'postgresql://nobody:hidden-word@127.0.0.1:1/nothing';

describe('help', () => {
  it.each([
    ['--help', ['serve', 'dev', 'migrate', 'tenant', 'seed', 'doctor', 'config']],
    ['tenant --help', ['create', 'list', 'show']],
    ['migrate up --help', ['--parallel', '--json']],
  ])('of %s is on stdout and names what there is', async (args, names) => {
    const { code, stdout, stderr } = await tenantry(args.split(' '));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const name of names) expect(stdout).toContain(name);
  });
});

describe('a wrong command line', () => {
  it.each([
    ['an unknown verb', ['fly']],
    ['an unknown option', ['migrate', 'status', '--fast']],
    ['a missing argument', ['tenant', 'show']],
    ['a missing option', ['tenant', 'create', 'acme']],
    ['a number that is none', ['migrate', 'up', '--parallel', 'many']],
    ['a number out of range', ['migrate', 'up', '--parallel', '0']],
  ])('with %s ends with 2, and a word of why on stderr', async (_case, args) => {
    const { code, stdout, stderr } = await tenantry(args, { DATABASE_ADMIN_URL: nobody });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).not.toBe('');
    expect(stderr).not.toContain('    at ');
  });

  it('asks for a slug and a password that can be, all faults at once', async () => {
    const args = ['tenant', 'create', 'Not A Slug', '--owner-email', 'nobody', '--owner-password', 'short'];
    const { code, stderr } = await tenantry(args, { DATABASE_ADMIN_URL: nobody });
    expect(code).toBe(2);
    expect(stderr).toMatch(/^slug: /m);
    expect(stderr).toMatch(/^owner\.email: /m);
    expect(stderr).toMatch(/^owner\.password: /m);
    expect(stderr).not.toContain('short');
  });
});

describe('the configuration', () => {
  it('that is wrong is told with all its faults at once, without any value, and ends with 2', async () => {
    const { code, stdout, stderr } = await tenantry(['serve'], {
      DATABASE_URL: 'mysql://hidden-word@example.test/x',
      JWT_SECRET: 'hidden-word',
      PORT: 'hidden-word',
      MAX_REPLICA_LAG_MS: '6000',
      OPERATOR_EMAIL: 'operator@tenantry.test',
    });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    for (const name of ['DATABASE_URL', 'JWT_SECRET', 'PORT', 'MAX_REPLICA_LAG_MS', 'OPERATOR_PASSWORD']) {
      expect(stderr).toContain(name);
    }
    expect(stderr).not.toContain('hidden-word');
  });

  it.each([
    ['serve', ['DATABASE_URL', 'JWT_SECRET']],
    ['migrate status', ['DATABASE_ADMIN_URL']],
    ['tenant list', ['DATABASE_ADMIN_URL']],
    ['seed', ['DATABASE_URL', 'DATABASE_ADMIN_URL']],
  ])('that is absent is asked for by %s', async (args, names) => {
    const { code, stdout, stderr } = await tenantry(args.split(' '));
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    for (const name of names) expect(stderr).toContain(`${name} is missing`);
  });

  it('is printed with secrets hidden, as text and as JSON', async () => {
    const env = { DATABASE_URL: nobody, JWT_SECRET: 'hidden-word '.repeat(4), PORT: '4000' };
    const [text, json] = await Promise.all([
      tenantry(['config', 'print'], env),
      tenantry(['config', 'print', '--json'], env),
    ]);
    expect(text.code).toBe(0);
    expect(text.stdout).toContain('PORT=4000\n');
    expect(text.stdout).toContain('DATABASE_URL=***\n');
    expect(JSON.parse(json.stdout)).toMatchObject({ PORT: '4000', DATABASE_URL: '***', JWT_SECRET: '***' });
    expect(text.stdout + json.stdout).not.toContain('hidden-word');
  });

  it('has .env.example for its example', async () => {
    const { code, stdout } = await tenantry(['config', 'print', '--example']);
    expect(code).toBe(0);
    expect(stdout).toBe(await readFile(path.join(repository, '.env.example'), 'utf8'));
  });
});

describe('without a server to talk to', () => {
  it.each([
    'migrate status',
    'migrate up --json',
    'tenant list',
    'doctor --rls --json',
    'tenant create acme --owner-email owner@acme.test --json',
    'seed',
  ])('%s ends with 6, says so, and prints no data', async (args) => {
    const env = { DATABASE_ADMIN_URL: nobody, DATABASE_URL: nobody };
    const { code, stdout, stderr } = await tenantry(args.split(' '), env);
    expect({ code, stdout }).toEqual({ code: 6, stdout: '' });
    expect(stderr).toContain('cannot be reached');
    expect(stderr).not.toContain('hidden-word');
  });

  it('the doctor says what is wrong and ends with 1', async () => {
    const env = { DATABASE_ADMIN_URL: nobody, DATABASE_URL: nobody };
    const { code, stdout } = await tenantry(['doctor', '--json'], env);
    expect(code).toBe(1);
    const findings = JSON.parse(stdout) as { verdict: string }[];
    expect(findings.filter(({ verdict }) => verdict === 'fail').length).toBeGreaterThan(1);
    expect(stdout).not.toContain('hidden-word');
  });
});
