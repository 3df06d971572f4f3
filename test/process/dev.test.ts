import { afterAll, afterEach, expect, it, jest } from '@jest/globals';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { resetCluster } from '../../cluster/cluster.ts';
import { serves } from '../../cluster/postmaster.mjs';
import { type ChildOptions, killChildren, program, start } from '../support/child.ts';
import { type Development, startDevelopment, stopDevelopment } from '../support/development.ts';
import { useFolder } from '../support/folder.ts';
import { createClient, clientWithToken } from '../support/http.ts';
import { until } from '../support/until.ts';

jest.setTimeout(60_000);

// One folder for all tests of this file, in this order: each finds what the one before has left.
const clusterDir = () => path.join(folder(), '.tenantry', 'cluster');
afterEach(killChildren);
// Before the folder goes: where the data is, is written there.
afterAll(() => resetCluster(clusterDir()));
const folder = useFolder();

const fromSource = (args: string[], options: ChildOptions) => start(program, args, options).ended();

const dev = (...args: string[]) => startDevelopment(folder(), ...args);

/** The servers that run on this folder's data. */
async function servers(): Promise<string[]> {
  const state = JSON.parse(await readFile(path.join(clusterDir(), 'cluster.json'), 'utf8')) as {
    dataRoot?: string;
  };
  const running: string[] = [];
  for (const name of ['primary', 'replica-1', 'replica-2']) {
    const dataDir = path.join(state.dataRoot ?? clusterDir(), name);
    const pidFile = path.join(dataDir, 'postmaster.pid');
    if (!existsSync(pidFile)) continue;
    const pid = Number.parseInt(await readFile(pidFile, 'utf8'), 10);
    if (serves(pid, dataDir)) running.push(name);
  }
  return running;
}

async function login({ tenantUrl }: Development, slug: string) {
  const { status, body } = await createClient(tenantUrl, { 'X-Tenant-ID': slug }).post('/v1/auth/login', {
    email: `owner@${slug}.test`,
    password: 'demo-password',
  });
  expect(status).toBe(200);
  return clientWithToken(tenantUrl, String(body['accessToken']));
}

async function stop(development: Development, signal: NodeJS.Signals): Promise<void> {
  await stopDevelopment(development, signal);
  expect(await servers()).toEqual([]);
}

const marker = { sku: 'MARKER', name: 'kept from one run to the next', priceCents: 1, stock: 1 };
const marked = async (development: Development) => {
  const client = await login(development, 'globex');
  const { body } = await client.get<{ data: unknown[] }>('/v1/products?filter[sku]=MARKER');
  return body.data.length === 1;
};

it('comes up from nothing, tells how to log in, and the demo works; SIGINT stops all of it', async () => {
  const development = await dev();
  const { child, adminUrl } = development;
  expect(child.stderr()).toContain('operator@tenantry.test / operator-password');
  expect(child.stderr()).toContain('owner@acme.test / demo-password');
  expect(child.stderr().match(/^ +.*curl /gm)).toHaveLength(3);
  expect(child.stdout()).toBe('');
  expect(await servers()).toEqual(['primary', 'replica-1']);

  for (const slug of ['acme', 'globex']) {
    const client = await login(development, slug);
    const { status, body } = await client.get<{ data: unknown[]; page: { next: string | null } }>(
      '/v1/products?limit=5',
    );
    expect(status).toBe(200);
    expect(body.data).toHaveLength(5);
    expect(body.page.next).not.toBeNull();
    await until(
      async () => (await client.get('/v1/orders?include=lines')).servedBy.startsWith('replica-1; '),
      'a read from the replica',
    );
  }
  const globex = await login(development, 'globex');
  expect(await globex.post('/v1/products', marker)).toMatchObject({
    status: 201,
    servedBy: 'primary; reason=write',
  });

  const operator = { email: 'operator@tenantry.test', password: 'operator-password' };
  const token = await createClient(adminUrl).post('/admin/v1/auth/login', operator);
  const tenants = await clientWithToken(adminUrl, String(token.body['accessToken'])).get<{
    data: { slug: string }[];
  }>('/admin/v1/tenants');
  expect(tenants.body.data.map(({ slug }) => slug)).toEqual(['globex', 'acme']);

  // Other commands find the development cluster by themselves.
  const status = await fromSource(['migrate', 'status', '--json'], { cwd: folder() });
  expect(status.code).toBe(0);
  expect(JSON.parse(status.stdout)).toMatchObject({ schemas: 3, pending: 0 });

  await stop(development, 'SIGINT');
});

it('a second run has the same data; a second process beside it is refused, and told whom to stop', async () => {
  const development = await dev();
  expect(await marked(development)).toBe(true);
  const other = await fromSource(['dev'], { cwd: folder(), env: { PORT: '0', ADMIN_PORT: '0' } });
  expect(other.code).toBe(1);
  expect(other.stderr).toContain(`in use by process ${development.child.pid}`);
  expect(await marked(development)).toBe(true);
  await stop(development, 'SIGTERM');
});

it('killed with -9 it leaves no server behind, and the next run works with the same data', async () => {
  const development = await dev();
  development.child.kill('SIGKILL');
  await development.child.ended();
  await until(async () => (await servers()).length === 0, 'the servers to be stopped', 20_000);
  const next = await dev();
  expect(await marked(next)).toBe(true);
  await stop(next, 'SIGINT');
});

it('--reset starts afresh, --replicas says with how many', async () => {
  const development = await dev('--reset', '--replicas', '2');
  expect(await marked(development)).toBe(false);
  expect(await servers()).toEqual(['primary', 'replica-1', 'replica-2']);
  await stop(development, 'SIGINT');
});

it('is refused in production and for a number of replicas that is none, before anything is started', async () => {
  const production = await fromSource(['dev'], { cwd: folder(), env: { NODE_ENV: 'production' } });
  expect(production).toMatchObject({ code: 2, stdout: '' });
  expect(production.stderr).toContain('tenantry serve');
  const many = await fromSource(['dev', '--replicas', 'many'], { cwd: folder() });
  expect(many).toMatchObject({ code: 2, stdout: '' });
  expect(await servers()).toEqual([]);
});
