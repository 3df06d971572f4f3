import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, it, jest } from '@jest/globals';
import { killChildren, run } from '../support/child.ts';
import { useDatabase } from '../support/database.ts';
import { useFolder } from '../support/folder.ts';
import { type Client, clientWithToken, createClient } from '../support/http.ts';
import { backdate } from '../support/purging.ts';
import { type Served, startServing } from '../support/served.ts';
import { testSecret } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

jest.setTimeout(240_000);

/**
 * Two tenants walk through their whole life by the admin API, and two by the command line, while two processes serve
 * them: one with the admin API, and one that has no way to the control plane.
 */
const database = useDatabase();
const folder = useFolder();
let both: Served;
let plain: Served;
let operator: Client;

beforeAll(async () => {
  both = await startServing(database, folder());
  plain = await startServing(database, folder(), { DATABASE_ADMIN_URL: '' });
  const login = { email: 'operator@tenantry.test', password: 'operator of tests' };
  const { body } = await createClient(both.adminUrl).post<{ accessToken: string }>(
    '/admin/v1/auth/login',
    login,
  );
  operator = clientWithToken(both.adminUrl, body.accessToken);
});
afterAll(killChildren);

/** What moves a tenant through its life. */
interface Way {
  create(slug: string, isolation: string): Promise<string>;
  move(slug: string, action: 'suspend' | 'resume' | 'delete' | 'restore'): Promise<void>;
  /** @returns the certificate */
  purge(slug: string): Promise<object>;
}

const password = 'a-long-password';
const owner = (slug: string) => ({ email: `owner@${slug}.test`, password });

const byApi: Way = {
  async create(slug, isolation) {
    const input = { slug, name: slug, isolation, owner: owner(slug) };
    const { status, body } = await operator.post<{ id: string }>('/admin/v1/tenants', input);
    expect(status).toBe(201);
    return body.id;
  },
  async move(slug, action) {
    const address = `${both.adminUrl}/admin/v1/tenants/${slug}`;
    if (action === 'delete') expect((await operator.delete(`/admin/v1/tenants/${slug}`)).status).toBe(204);
    else
      expect([address, (await operator.post(`/admin/v1/tenants/${slug}/${action}`)).status]).toEqual([
        address,
        200,
      ]);
  },
  async purge(slug) {
    const { status, body } = await operator.post<{ id: string }>(`/admin/v1/tenants/${slug}/purge`, {});
    expect(status).toBe(202);
    let result: object | null = null;
    await until(
      async () => {
        const job = await operator.get<{ result: object | null }>(`/admin/v1/jobs/${body.id}`);
        result = job.body.result;
        return result !== null;
      },
      'the purge to end',
      30_000,
    );
    return result ?? {};
  },
};

const tenantry = (...args: string[]) =>
  run(args, { env: { ...database.env(), JWT_SECRET: testSecret, BCRYPT_COST: '4' }, cwd: folder() });
const json = async (...args: string[]) => {
  const { code, stdout, stderr } = await tenantry(...args, '--json');
  expect({ args, code, stderr }).toEqual({ args, code: 0, stderr: '' });
  return JSON.parse(stdout) as Record<string, unknown>;
};

const byCommands: Way = {
  async create(slug, isolation) {
    const names = [
      '--isolation',
      isolation,
      '--owner-email',
      owner(slug).email,
      '--owner-password',
      password,
    ];
    return String((await json('tenant', 'create', slug, ...names))['id']);
  },
  async move(slug, action) {
    await json('tenant', action, slug);
  },
  async purge(slug) {
    return (await json('tenant', 'purge', slug, '--wait'))['result'] as object;
  },
};

it.each([
  ['the admin API', 'shared', byApi],
  ['the admin API', 'schema', byApi],
  ['the command line', 'shared', byCommands],
  ['the command line', 'schema', byCommands],
] as const)('by %s, isolation %s', async (way, isolation, { create, move, purge }) => {
  const slug = `walker-${isolation}-${way.includes('API') ? 'api' : 'cli'}`;
  const id = await create(slug, isolation);
  const login = () =>
    createClient(plain.tenantUrl, { 'X-Tenant-ID': slug }).post<{ accessToken: string }>(
      '/v1/auth/login',
      owner(slug),
    );
  const { body, status } = await login();
  expect(status).toBe(200);
  const clients = [both, plain].map(({ tenantUrl }) => clientWithToken(tenantUrl, body.accessToken));
  const all = (expected: number) =>
    until(async () => {
      const answers = await Promise.all(clients.map((client) => client.get('/v1/products')));
      return answers.every((answer) => answer.status === expected);
    }, `both processes to answer with ${expected}`);
  const product = { sku: 'a', name: 'A', priceCents: 1, stock: 1 };
  expect((await clients[0]?.post('/v1/products', product))?.status).toBe(201);

  await move(slug, 'suspend');
  await all(403);
  expect((await login()).status).toBe(403);
  await move(slug, 'resume');
  await all(200);
  await move(slug, 'delete');
  await all(401);
  expect((await login()).status).toBe(401);
  await move(slug, 'restore');
  await all(200);
  await database.caughtUp(); // the other process wrote it, and nobody has told this one
  const { data } = (await clients[1]?.get<{ data: object[] }>('/v1/products'))?.body ?? {};
  expect(data).toHaveLength(1);
  await move(slug, 'delete');
  await backdate(database, id);
  const certificate = await purge(slug);
  await all(401);
  expect(certificate).toMatchObject({ tenantId: id, isolation });

  const file = path.join(folder(), `${slug}.json`);
  await writeFile(file, JSON.stringify(certificate));
  expect(await json('tenant', 'verify-purge', file)).toEqual({ valid: true, faults: [] });
  await writeFile(file, JSON.stringify({ ...certificate, purgedAt: '2020-01-01T00:00:00Z' }));
  const forged = await tenantry('tenant', 'verify-purge', file);
  expect(forged).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('forged or altered') });

  // The slug is free, and nothing of the first is there for the second.
  expect(await create(slug, isolation)).not.toBe(id);
  await until(async () => (await login()).status === 200, 'the second tenant to be known');
});

it('the command line says what it refuses, and with which code', async () => {
  await byCommands.create('cli-refused', 'shared');
  const cases: [number, RegExp, ...string[]][] = [
    [1, /active, which allows update, suspend, delete/, 'resume', 'cli-refused'],
    [1, /active, which allows/, 'purge', 'cli-refused'],
    [1, /There is no such tenant/, 'suspend', 'nobody'],
    [2, /force wants a reason/, 'purge', 'cli-refused', '--force'],
    [2, /--certificate belongs to --wait/, 'purge', 'cli-refused', '--certificate', 'x'],
    [2, /cannot be read as JSON/, 'verify-purge', 'no-such-file'],
    [2, /./, 'suspend'],
  ];
  for (const [code, words, ...args] of cases) {
    const ended = await tenantry('tenant', ...args);
    expect({ args, code: ended.code, stdout: ended.stdout }).toEqual({ args, code, stdout: '' });
    expect(ended.stderr).toMatch(words);
  }
  const dry = await json('tenant', 'purge', 'cli-refused', '--dry-run');
  const places = ['control.audit_events', 'shared.audit_events', 'shared.users'];
  expect(dry).toMatchObject({ rows: 3, tables: places.map((place) => ({ place, rows: 1 })) });
  await json('tenant', 'delete', 'cli-refused');
  const early = await tenantry('tenant', 'purge', 'cli-refused');
  expect(early).toMatchObject({ code: 1, stderr: expect.stringContaining('retained until') });
});
