import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseEnv } from 'node:util';
import { Command, InvalidArgumentError } from 'commander';
import { type Logger, pino } from 'pino';
import { demoOwner, demoTenants } from '../../seeds/control/demo.ts';
import { buildControlPlane, buildDataPlane, createKernel } from '../build.ts';
import { type Config, loadConfig } from '../config.ts';
import { serve, type Serving, untilSignal } from '../serve.ts';
import { devEnvFile, devFolder } from './environment.ts';
import { Exit, exitCodes, type Io } from './io.ts';
import { seedDemo } from './seed.ts';

export function devCommand(io: Io): Command {
  return new Command('dev')
    .description('Serve on an embedded primary and replicas of this folder, with the demo in them.')
    .option('--reset', 'start afresh, with an empty cluster')
    .option('--replicas <n>', 'streaming replicas', replicaCount, 1)
    .action((options: DevOptions) => dev(io, options));
}

interface DevOptions {
  reset?: boolean;
  replicas: number;
}

const database = 'tenantry';

async function dev(io: Io, { reset = false, replicas }: DevOptions): Promise<void> {
  if (io.env['NODE_ENV'] === 'production') {
    throw new Exit(exitCodes.usage, 'tenantry dev is for development; use tenantry serve in production.');
  }
  const startedMs = performance.now();
  const { startCluster, resetCluster, prepareDatabase } = await localCluster();
  const dir = path.resolve(devFolder, 'cluster');
  if (reset) await resetCluster(dir);
  await mkdir(devFolder, { recursive: true });
  const cluster = await startCluster({ dir, replicas, onProgress: io.note });
  try {
    const secrets = readSecrets();
    await prepareDatabase({
      superuserUrl: cluster.primaryUrl,
      database,
      ownerPassword: secrets.owner,
      appPassword: secrets.app,
    });
    const app = cluster.urlsFor(database, 'tenantry_app', secrets.app);
    const owner = cluster.urlsFor(database, 'tenantry_owner', secrets.owner);
    const env = {
      DATABASE_URL: app.primaryUrl,
      DATABASE_REPLICA_URLS: app.replicaUrls.join(','),
      DATABASE_ADMIN_URL: owner.primaryUrl,
      JWT_SECRET: secrets.jwt,
      OPERATOR_EMAIL: 'operator@tenantry.test',
      OPERATOR_PASSWORD: 'operator-password',
    };
    await writeDevEnv(env);
    const config = loadConfig({ ...env, ...io.env }, 'serve');
    const logger = await prettyLogger(config);
    await migrateAndSeed(io, config, logger);
    const serving = await serve(config, { logger });
    io.note(banner(serving, performance.now() - startedMs));
    await untilSignal();
    io.note('stopping');
    await serving.stop();
  } finally {
    await cluster.stop();
  }
}

async function migrateAndSeed(io: Io, config: Config, logger: Logger): Promise<void> {
  const kernel = createKernel(config, { logger });
  const data = buildDataPlane(kernel);
  const control = buildControlPlane(kernel, data.directory);
  try {
    const { counts, results } = await control.runner.up();
    for (const { schema, error } of results) if (error !== undefined) io.note(`${schema}: ${error}`);
    if (counts.failed > 0) throw new Exit(exitCodes.someFailed, 'The migrations failed; see above.');
    if (counts.applied > 0) io.note(`migrated ${counts.applied} schemas`);
    await data.start();
    await seedDemo(control, data);
  } finally {
    await control.stop();
    await data.stop();
  }
}

/** The part of cluster/ that is used here. It is not shipped, so it is looked for only when it is wanted. */
interface LocalCluster {
  startCluster(options: {
    dir: string;
    replicas: number;
    onProgress: (message: string) => void;
  }): Promise<RunningCluster>;
  resetCluster(dir: string): Promise<void>;
  prepareDatabase(options: {
    superuserUrl: string;
    database: string;
    ownerPassword: string;
    appPassword: string;
  }): Promise<void>;
}

interface RunningCluster {
  primaryUrl: string;
  urlsFor(
    database: string,
    user: string,
    password: string,
  ): { primaryUrl: string; replicaUrls: readonly string[] };
  stop(): Promise<void>;
}

async function localCluster(): Promise<LocalCluster> {
  const folder = new URL('../../cluster/', import.meta.url);
  if (!existsSync(folder)) {
    throw new Exit(exitCodes.usage, 'tenantry dev works in a clone of the repository; this is a build.');
  }
  const load = async (file: string) => (await import(new URL(file, folder).href)) as Partial<LocalCluster>;
  return { ...(await load('cluster.ts')), ...(await load('database.ts')) } as LocalCluster;
}

interface Secrets {
  owner: string;
  app: string;
  jwt: string;
}

/** Kept from one run to the next, so that tokens and open psql sessions go on working. */
function readSecrets(): Secrets {
  const env = existsSync(devEnvFile) ? parseEnv(readFileSync(devEnvFile, 'utf8')) : {};
  const passwordIn = (url: string | undefined) => (url === undefined ? '' : new URL(url).password);
  const made = () => randomBytes(32).toString('hex');
  return {
    owner: passwordIn(env['DATABASE_ADMIN_URL']) || made(),
    app: passwordIn(env['DATABASE_URL']) || made(),
    jwt: env['JWT_SECRET'] || made(),
  };
}

async function writeDevEnv(env: Record<string, string>): Promise<void> {
  const lines = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  await writeFile(devEnvFile, `${lines.join('\n')}\n`, { mode: 0o600 });
}

/** Log lines for people, on stderr; a JSON line each where pino-pretty is not installed. */
async function prettyLogger(config: Config): Promise<Logger> {
  const { default: pretty } = await import('pino-pretty');
  const stream = pretty({
    destination: 2,
    sync: true,
    ignore: 'pid,hostname,method,path,status,actor,requestId,databaseMs',
    singleLine: true,
    translateTime: 'SYS:HH:MM:ss.l',
  });
  return pino({ level: config.LOG_LEVEL }, stream);
}

function banner({ tenantPort, adminPort }: Serving, tookMs: number): string {
  const api = `http://127.0.0.1:${tenantPort}`;
  const admin = `http://127.0.0.1:${adminPort}`;
  const credentials = demoTenants.map(({ slug, isolation }) => {
    const { email, password } = demoOwner(slug);
    return `  ${slug.padEnd(8)} ${email} / ${password}   (isolation: ${isolation})`;
  });
  const { email, password } = demoOwner('acme');
  return `
Tenantry is ready after ${(tookMs / 1000).toFixed(1)} s

  tenant API  ${api}
  admin API   ${admin}

  operator operator@tenantry.test / operator-password
${credentials.join('\n')}

Log in, read from the replica, and write; what you wrote is read from the replica, too:

  TOKEN=$(curl -s ${api}/v1/auth/login -H 'X-Tenant-ID: acme' -H 'Content-Type: application/json' -d '{"email":"${email}","password":"${password}"}' | sed 's/.*"accessToken":"\\([^"]*\\)".*/\\1/')
  curl -si '${api}/v1/products?limit=2' -H "Authorization: Bearer $TOKEN"
  curl -si ${api}/v1/products -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"sku":"NEW-1","name":"First","priceCents":1990,"stock":5}'

Database URLs are in ${devEnvFile}. Ctrl-C stops everything.
`;
}

function replicaCount(text: string): number {
  if (!/^\d$/.test(text)) throw new InvalidArgumentError('A whole number from 0 to 9 is needed.');
  return Number(text);
}
