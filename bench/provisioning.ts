import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs, promisify } from 'node:util';
import bcrypt from 'bcrypt';
import { Client } from 'pg';
import { startCluster } from '../cluster/cluster.ts';
import { prepareDatabase } from '../cluster/database.ts';
import { compiledIn } from '../test/support/compiled.ts';
import { type Compiled, compile } from './compiled.ts';
import { startFlags } from './contender.ts';
import { describeCommit, describeMachine } from './machine.ts';
import { positive } from './options.ts';
import { type ServerProcess, startServer } from './server-process.ts';

/**
 * How long it takes to make a tenant by the admin API, one after the other: in the common tables, in a schema of its own
 * that is made for it or has waited for it, and as it was when knex's migrator made every schema. See README.md.
 */
const usage = `Usage: npm run bench:provisioning -- [options]
  --tenants <n>  of each kind in a round (100)
  --rounds <n>   of which the median is told (3)
`;
const progress = (message: string) => void process.stderr.write(`${message}\n`);
const run = promisify(execFile);
/** Most that PROVISION_WARM takes. */
const warmMost = 100;
const operator = { email: 'operator@bench.test', password: randomBytes(16).toString('hex') };
const warmUp = 10;

interface Contender {
  label: string;
  isolation: 'shared' | 'schema';
  warm: number;
  /** Each waits until what was given away before it has been replaced, as tenants that come now and then do. */
  spaced?: true;
  /** A step that asks the database first of all, so that knex's migrator takes every step by itself. */
  stepByStep?: true;
}

const contenders: readonly Contender[] = [
  { label: 'shared', isolation: 'shared', warm: 0 },
  { label: 'schema, waiting', isolation: 'schema', warm: warmMost, spaced: true },
  { label: 'schema, waiting, at once', isolation: 'schema', warm: warmMost },
  { label: 'schema, made', isolation: 'schema', warm: 0 },
  { label: 'schema, step by step', isolation: 'schema', warm: 0, stepByStep: true },
];

/** A contender that is up, on a database of its own: settings of one must not reach the schemas of another. */
interface Running extends Contender {
  server: ServerProcess;
  token: string;
  /** As tenantry_owner. */
  owner: Client;
  rounds: Figure[];
}

interface Figure {
  p50Ms: number;
  p95Ms: number;
  /** Of the server process, for each tenant. */
  cpuMs: number;
}

try {
  const { values } = parseArgs({
    options: { tenants: { type: 'string', default: '100' }, rounds: { type: 'string', default: '3' } },
  });
  await bench(positive('tenants', values.tenants), positive('rounds', values.rounds));
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  if ((error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS') === true) process.stderr.write(usage);
  process.exitCode = 1;
}

async function bench(tenants: number, rounds: number): Promise<void> {
  if (tenants > warmMost) throw new Error(`--tenants: ${warmMost} at most can wait`);
  const machine = describeMachine();
  const commit = await describeCommit();
  progress('Compiling');
  const compiled = await compile();
  const stepwise = await withAskingStep(compiled);
  const dir = await mkdtemp(path.join(os.tmpdir(), 'tenantry-bench-'));
  const cluster = await startCluster({
    dir,
    replicas: 1,
    durable: true,
    removeOnStop: true,
    onProgress: progress,
  });
  const running: Running[] = [];
  try {
    const [ownerPassword, appPassword] = [randomBytes(32).toString('hex'), randomBytes(32).toString('hex')];
    for (const [index, contender] of contenders.entries()) {
      progress(`Starting: ${contender.label}`);
      const database = `tenantry_bench_${index}`;
      await prepareDatabase({ superuserUrl: cluster.primaryUrl, database, ownerPassword, appPassword });
      const urls = {
        app: cluster.urlsFor(database, 'tenantry_app', appPassword),
        ownerUrl: cluster.urlsFor(database, 'tenantry_owner', ownerPassword).primaryUrl,
      };
      running.push(await start(contender, contender.stepByStep ? stepwise : compiled, urls));
    }
    for (const one of running) await measure(one, 'warm', warmUp);
    for (let round = 1; round <= rounds; round += 1) {
      for (let turn = 0; turn < running.length; turn += 1) {
        const one = running[(turn + round) % running.length];
        if (one === undefined) continue;
        progress(`Round ${round}: ${one.label}`);
        one.rounds.push(await measure(one, `r${round}`, tenants));
      }
    }
    process.stdout.write(`${JSON.stringify({ commit, machine })}\n`);
    for (const one of running) process.stdout.write(`${told(one)}\n`);
    const hashes: number[] = [];
    for (let n = 0; n < 20; n += 1) {
      const startedMs = performance.now();
      await bcrypt.hash('a password of the bench', 12);
      hashes.push(performance.now() - startedMs);
    }
    process.stdout.write(
      `a password hash of cost 12, in no figure above: ${at(hashes, 0.5).toFixed(0)} ms\n`,
    );
  } finally {
    for (const { server, owner } of running) {
      await owner.end();
      await server.stop();
    }
    await cluster.stop();
  }
}

async function start(
  contender: Contender,
  compiled: Compiled,
  { app, ownerUrl }: { app: { primaryUrl: string; replicaUrls: string[] }; ownerUrl: string },
): Promise<Running> {
  const migrate = [compiled.program('src/cli/main.ts'), 'migrate', 'up'];
  await run(process.execPath, migrate, { env: { DATABASE_ADMIN_URL: ownerUrl } });
  const server = await startServer({
    name: contender.label,
    flags: ['--import', compiled.program('bench/leash.ts'), ...startFlags],
    program: compiled.program('src/main.ts'),
    arguments: () => [],
    environment: (port) => ({
      // In production so cheap a hash is refused.
      ...{ NODE_ENV: 'bench', BCRYPT_COST: '4' },
      ...{ PORT: '0', ADMIN_PORT: String(port), JWT_SECRET: randomBytes(32).toString('hex') },
      ...{ DATABASE_URL: app.primaryUrl, DATABASE_REPLICA_URLS: app.replicaUrls.join(',') },
      ...{ DATABASE_ADMIN_URL: ownerUrl, PROVISION_WARM: String(contender.warm) },
      ...{ OPERATOR_EMAIL: operator.email, OPERATOR_PASSWORD: operator.password },
      ACCESS_TOKEN_TTL_S: '86400',
    }),
  });
  const answer = await post(server, '/admin/v1/auth/login', operator);
  const { accessToken: token } = (await answer.json()) as { accessToken: string };
  const owner = new Client({ connectionString: ownerUrl });
  await owner.connect();
  return { ...contender, server, token, owner, rounds: [] };
}

async function measure(one: Running, name: string, tenants: number): Promise<Figure> {
  await filled(one);
  const durations: number[] = [];
  const cpuBefore = await one.server.cpuMs();
  for (let n = 0; n < tenants; n += 1) {
    if (one.spaced === true) await filled(one);
    const slug = `${name}-${n}`;
    const input = { slug, name: slug, isolation: one.isolation, owner: { ...operator } };
    const startedMs = performance.now();
    const answer = await post(one.server, '/admin/v1/tenants', input, one.token);
    const body = await answer.text();
    durations.push(performance.now() - startedMs);
    if (answer.status !== 201) throw new Error(`${one.label}: ${answer.status} ${body}`);
  }
  const cpuMs = ((await one.server.cpuMs()) ?? 0) - (cpuBefore ?? 0);
  // What is made to take the place of what was given away is nobody else's load.
  await filled(one);
  return { p50Ms: at(durations, 0.5), p95Ms: at(durations, 0.95), cpuMs: cpuMs / tenants };
}

/** Resolves when as many schemas wait as should. */
async function filled({ owner, warm }: Running): Promise<void> {
  const count = 'select count(*)::int as n from control.warm_schemas';
  while ((await owner.query<{ n: number }>(count)).rows[0]?.n !== warm) await sleep(10);
}

function post(server: ServerProcess, where: string, body: object, token?: string): Promise<Response> {
  const authorization: Record<string, string> =
    token === undefined ? {} : { Authorization: `Bearer ${token}` };
  return fetch(server.url + where, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...authorization },
    body: JSON.stringify(body),
  });
}

/** The same build, in whose tenant ladder a step asks the database something. */
async function withAskingStep(compiled: Compiled): Promise<Compiled> {
  const from = path.dirname(path.dirname(compiled.program('src/main.ts')));
  const folder = `${from}-step-by-step`;
  await rm(folder, { recursive: true, force: true });
  await cp(from, folder, { recursive: true });
  await writeFile(
    path.join(folder, 'migrations/tenant/0000_asks.js'),
    `export async function up(knex) {
      const { rows } = await knex.raw('select 1 as one');
      if (rows[0].one !== 1) throw new Error('One is one');
    }
    export async function down() {}\n`,
  );
  return compiledIn(folder);
}

function told({ label, rounds }: Running): string {
  const figures = (name: string, of: (figure: Figure) => number) => {
    const all = rounds.map(of);
    return `${name} ${at(all, 0.5).toFixed(1)} ms (${all.map((ms) => ms.toFixed(1)).join(', ')})`;
  };
  const columns = [
    figures('p50', ({ p50Ms }) => p50Ms),
    figures('p95', ({ p95Ms }) => p95Ms),
    figures('CPU', ({ cpuMs }) => cpuMs),
  ];
  return `${label.padEnd(24)} ${columns.join('   ')}`;
}

function at(figures: readonly number[], share: number): number {
  const sorted = figures.toSorted((one, other) => one - other);
  return sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? 0;
}
