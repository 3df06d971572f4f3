import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { queueVersion } from '../src/control/jobs/worker.ts';
import { build } from '../src/version.ts';

/**
 * The two tables of docs/architecture.md as data: which room may import what, and which dangerous spelling has which
 * one owner. A violation is named by file and line.
 */

const root = path.resolve(import.meta.dirname, '..');

interface Source {
  file: string;
  lines: string[];
}

function sourcesIn(...folders: string[]): Source[] {
  return folders
    .flatMap((folder) =>
      readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' }).map((name) =>
        path.join(folder, name),
      ),
    )
    .filter((file) => file.endsWith('.ts'))
    .map((file) => ({ file, lines: readFileSync(path.join(root, file), 'utf8').split('\n') }));
}

/** First match wins. Targets: a package's name, or a path from the root; a trailing slash stands for the whole folder. */
const edges: { room: RegExp; may: string[] }[] = [
  { room: /^src\/main\.ts$/, may: ['src/config.ts', 'src/serve.ts'] },
  { room: /^src\/serve\.ts$/, may: ['node:', 'src/build.ts', 'src/config.ts', 'src/http/server.ts'] },
  {
    room: /^src\/(build|kernel|control-plane|fleet|credentials|examination|sightings|limiter|transfer)\.ts$/,
    may: ['node:', 'express', 'pino', 'rate-limiter-flexible', 'src/'],
  },
  // Keys are checked by the room that uses them.
  { room: /^src\/(config|settings)\.ts$/, may: ['zod', 'src/settings.ts', 'src/auth/signing-keys.ts'] },
  { room: /^src\/(errors|clock|version)\.ts$/, may: [] },
  {
    room: /^src\/db\//,
    may: [
      ...[
        'node:',
        'pg',
        'pg-copy-streams',
        'pg-protocol',
        'pg/lib/utils.js',
        '@redis/client',
        'knex',
        'uuid',
      ],
      ...['src/db/', 'src/errors.ts', 'src/clock.ts'],
    ],
  },
  {
    room: /^src\/auth\//,
    may: [
      'node:',
      'jsonwebtoken',
      'bcrypt',
      'lru-cache',
      'p-limit',
      'src/auth/',
      'src/errors.ts',
      'src/clock.ts',
    ],
  },
  {
    room: /^src\/telemetry\//,
    may: [
      ...['prom-client', '@opentelemetry/api', 'pino', 'src/telemetry/', 'src/clock.ts'],
      ...['src/db/index.ts', 'src/http/observation.ts', 'src/http/metrics.ts'],
    ],
  },
  // The description of the tenant API, from what its rooms say of themselves.
  {
    room: /^src\/tenant-api\.ts$/,
    may: ['any/openapi.ts', 'any/schema.ts', 'src/http/openapi/', 'src/http/resource.ts', 'src/version.ts'],
  },
  {
    room: /^src\/http\/openapi\//,
    may: ['node:', ...['express', 'zod', 'zod-openapi'], 'src/http/', 'src/db/index.ts', 'src/errors.ts'],
  },
  {
    room: /^src\/http\//,
    may: [
      'node:',
      ...['express', 'helmet', 'cors', 'pino', 'pino-http', 'uuid', 'zod'],
      ...['src/http/', 'src/auth/', 'src/db/index.ts', 'src/errors.ts', 'src/clock.ts'],
    ],
  },
  {
    room: /^src\/control\/migrations\//,
    may: [
      ...['node:', 'knex', 'libpg-query', 'pg', 'p-limit', 'express', 'uuid', 'zod'],
      // What keeps tenants apart is asked of migrations as it is of the catalog.
      'src/control/isolation-rules.ts',
      ...['src/control/migrations/', 'src/control/jobs/', 'src/control/audit/repository.ts'],
      ...['src/control/tenants/purge/pace.ts', 'src/db/index.ts', 'src/version.ts'],
      ...edge(),
    ],
  },
  {
    room: /^src\/control\/jobs\/worker\.ts$/,
    may: ['node:', 'graphile-worker', 'pg', 'pino', 'src/control/jobs/', 'src/db/index.ts'],
  },
  {
    room: /^src\/control\//,
    may: [
      'node:',
      'express',
      'lru-cache',
      'uuid',
      'zod',
      'src/control/',
      'src/db/index.ts',
      'src/auth/',
      ...edge(),
    ],
  },
  {
    room: /^src\/features\/[^/]+\/openapi\.ts$/,
    may: ['own/schema.ts', 'any/schema.ts', 'src/http/openapi/'],
  },
  { room: /^src\/features\/[^/]+\/schema\.ts$/, may: ['zod', 'src/auth/roles.ts', 'src/http/resource.ts'] },
  {
    room: /^src\/features\/[^/]+\/routes\.ts$/,
    may: [
      ...['express', 'own/schema.ts', 'own/service.ts', 'src/auth/refresh-tokens.ts'],
      ...['src/db/index.ts', ...edge()],
    ],
  },
  {
    room: /^src\/features\/[^/]+\/(service|holders)\.ts$/,
    may: [
      ...['node:', 'uuid', 'lru-cache', 'own/', 'any/service.ts', 'any/schema.ts'],
      ...['src/db/index.ts', 'src/auth/', 'src/errors.ts', 'src/clock.ts', 'src/http/resource-routes.ts'],
    ],
  },
  { room: /^src\/features\/[^/]+\/repository\.ts$/, may: ['own/schema.ts', 'src/db/index.ts'] },
  {
    // The text of files that it writes into others' rooms.
    room: /^src\/cli\/make\/files\.ts$/,
    may: ['src/', ...['zod', 'express', 'knex', 'uuid', '@jest/globals']],
  },
  {
    room: /^src\/cli\//,
    may: [
      ...['node:', 'commander', 'cli-progress', 'pino', 'pino-pretty'],
      ...[
        'src/cli/',
        'src/build.ts',
        'src/fleet.ts',
        'src/transfer.ts',
        'src/tenant-api.ts',
        'src/serve.ts',
        'src/examination.ts',
        'src/config.ts',
        'src/errors.ts',
        'src/version.ts',
        'src/control/',
        'seeds/',
      ],
      ...['src/db/index.ts', 'src/features/api-keys/schema.ts'],
    ],
  },
  { room: /^cluster\//, may: ['node:', 'pg', 'cluster/'] },
  { room: /^demo\//, may: ['node:', 'cluster/', 'demo/', 'seeds/'] },
  { room: /^migrations\//, may: ['knex', 'migrations/'] },
  { room: /^seeds\//, may: ['seeds/'] },
];

/** What the edges of the control plane and of features take from http. */
function edge(): string[] {
  const files = [
    'context',
    'validate',
    'route',
    'list',
    'authorize',
    'consistency',
    'idempotency',
    'idempotency-key',
    'login-guard',
    'origin',
    'resource-routes',
  ];
  return [
    ...files.map((name) => `src/http/${name}.ts`),
    ...['src/http/resolve-tenant.ts', 'src/http/app.ts', 'src/errors.ts', 'src/clock.ts', 'src/config.ts'],
  ];
}

const owners: { spelling: RegExp; only: RegExp; why: string }[] = [
  {
    spelling: /\bprocess\.env\b/,
    only: /^(src\/main\.ts|src\/cli\/main\.ts|knexfile\.ts|(cluster|demo)\/.*)$/,
    why: 'the environment is read at the edges',
  },
  {
    spelling: /\bnew (Pool|Client|Connection)\b/,
    only: /^(src\/db\/(pool|lent-pool|cancel)\.ts|cluster\/.*)$/,
    why: 'connections are made where their errors are handled',
  },
  {
    spelling: /[`'"](begin|commit|rollback|savepoint)\b/i,
    only: /^src\/db\/(transaction|snapshot|message)\.ts$/,
    why: 'transactions have one owner',
  },
  {
    spelling: /set_config|\bset local\b|\bsearch_path\s*=/i,
    only: /^(src\/db\/scope\.ts|src\/control\/migrations\/.*)$/,
    why: 'the tenant context has one owner',
  },
  {
    spelling: /pg_last_wal_replay_lsn|pg_current_wal/,
    only: /^(src\/db\/.*|cluster\/.*)$/,
    why: 'positions are read by the router',
  },
  {
    spelling: /from 'knex'/,
    only: /^(src\/cli\/make\/files\.ts|src\/control\/migrations\/.*|knexfile\.ts|migrations\/.*)$/,
    why: 'knex runs migrations',
  },
  {
    spelling: /['"]graphile-worker['"]/,
    only: /^src\/control\/jobs\/worker\.ts$/,
    why: 'jobs have one queue',
  },
  {
    spelling: /from '(prom-client|@opentelemetry\/.*)'/,
    only: /^src\/telemetry\//,
    why: 'figures and spans have one room',
  },
  {
    spelling: /from '@redis\//,
    only: /^src\/db\/redis\.ts$/,
    why: 'Redis is one way to share what was written',
  },
  {
    spelling: /^import (?!type ).*from 'zod-openapi'/,
    only: /^src\/http\/openapi\/document\.ts$/,
    why: 'a process that nobody asks for its description does not load what makes it',
  },
  { spelling: /from '(jsonwebtoken|bcrypt)'/, only: /^src\/auth\//, why: 'credentials have one room' },
  {
    spelling: /\bDate\.now\b|\bnew Date\(\)/,
    only: /^(src\/clock\.ts|cluster\/.*)$/,
    why: 'time is passed in',
  },
  {
    spelling: /\b(tenant_id|deleted_at)\b/,
    only: /^(src\/db\/(table|table-reading|table-bulk|selecting|tenant-rows|scope|audit|numbers|capacity|once)\.ts|src\/control\/(isolation-rules|tenants\/(purge|retention)\/tables|tenants\/move\/rows|migrations\/(backfill|lint\/tenancy))\.ts|migrations\/.*)$/,
    why: 'no feature can forget what it does not spell',
  },
];

describe('the rooms', () => {
  const sources = sourcesIn('src', 'cluster', 'demo', 'migrations', 'seeds');

  it('import only what they may', () => {
    expect(sources.flatMap(forbiddenImports)).toEqual([]);
  });

  it('leave each dangerous spelling to its owner', () => {
    const all = [...sources, ...readRoot('knexfile.ts')];
    expect(all.flatMap(strangers)).toEqual([]);
  });

  it('see a violation when there is one', () => {
    const faulty: Source = {
      file: 'src/features/x/service.ts',
      lines: ["import { Pool } from 'pg';", 'new Pool({ connectionString: process.env.URL });'],
    };
    expect(forbiddenImports(faulty)).toEqual(['src/features/x/service.ts:1 imports pg']);
    expect(strangers(faulty)).toHaveLength(2);
  });

  it('are of the version that package.json has', () => {
    const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
      version: string;
      dependencies: Record<string, string>;
    };
    expect(build).toBe(manifest.version);
    expect(queueVersion).toBe(manifest.dependencies['graphile-worker']);
  });

  it('keep their files short enough to read', () => {
    const long = sourcesIn('src').filter(({ lines }) => lines.length > 350);
    expect(long.map(({ file, lines }) => `${file} has ${lines.length} lines`)).toEqual([]);
  });
});

function readRoot(file: string): Source[] {
  return [{ file, lines: readFileSync(path.join(root, file), 'utf8').split('\n') }];
}

function forbiddenImports({ file, lines }: Source): string[] {
  const rule = edges.find(({ room }) => room.test(file));
  if (rule === undefined) return [`${file} is in no room`];
  return importsOf(lines).flatMap(({ target, line }) => {
    const resolved = target.startsWith('.') ? path.join(path.dirname(file), target) : target;
    const allowed = rule.may.some((entry) => matches(entry, resolved, file));
    return allowed ? [] : [`${file}:${line} imports ${resolved}`];
  });
}

function importsOf(lines: readonly string[]): { target: string; line: number }[] {
  return lines.flatMap((text, index) => {
    const target = /(?:^import|^(?:import|export|\}).* from|\bimport\() ?'([^']+)'/.exec(text)?.[1];
    return target === undefined ? [] : [{ target, line: index + 1 }];
  });
}

function matches(entry: string, target: string, file: string): boolean {
  const own = path.dirname(file);
  if (entry === 'node:') return target.startsWith('node:');
  if (entry.startsWith('own/')) return target.startsWith(path.join(own, entry.slice(4)));
  if (entry.startsWith('any/')) return new RegExp(`^src/features/[^/]+/${entry.slice(4)}$`).test(target);
  return entry.endsWith('/') ? target.startsWith(entry) : target === entry;
}

function strangers({ file, lines }: Source): string[] {
  return lines.flatMap((text, index) =>
    owners
      .filter(({ spelling, only }) => spelling.test(withoutComment(text)) && !only.test(file))
      .map(({ spelling, why }) => `${file}:${index + 1} spells ${spelling.source}: ${why}`),
  );
}

function withoutComment(text: string): string {
  return /^\s*(\/\/|\*|\/\*)/.test(text) ? '' : text;
}
