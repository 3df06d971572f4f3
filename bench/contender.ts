import packageJson from '../package.json' with { type: 'json' };
import type { Compiled } from './compiled.ts';
import type { Dialect } from './request.ts';
import { type ServerProcess, startServer } from './server-process.ts';
import type { World } from './world.ts';

/** Who is measured: Tenantry, and what people write instead of it. pgbench, which has no HTTP, is beside this list. */
export interface Contender {
  key: ContenderKey;
  label: string;
  about: string;
  dialect: Dialect;
  start(world: World, compiled: Compiled, flags?: readonly string[]): Promise<ServerProcess>;
}

export type ContenderKey = 'tenantry' | 'express' | 'ordinary' | 'node';

/** Everything is told as a multiple of this one. */
export const yardstick: ContenderKey = 'express';
/** Of every contender, and the clients of pgbench. */
export const poolMax = 10;
export const readAfterWriteWindowMs = 5000;

export const contenders: readonly Contender[] = [
  {
    key: 'tenantry',
    label: 'Tenantry',
    about: 'the production build with everything on, one replica',
    dialect: 'token',
    start: startTenantry,
  },
  opponent(
    'express',
    'A: Express + pg',
    'named statements, WHERE tenant_id; no auth, logging, tenancy',
    'path',
  ),
  opponent(
    'ordinary',
    'B: ordinary stack',
    'Express, helmet, pino-http, jsonwebtoken, zod, knex, RLS',
    'token',
  ),
  opponent('node', 'C: node:http + pg', 'as A, without Express', 'path'),
];

/** Of node, as `npm start` gives them. */
export const startFlags = packageJson.scripts.start.split(' ').filter((word) => word.startsWith('--'));

/** @param settings beyond those of the bench */
export function startTenantry(
  world: World,
  compiled: Compiled,
  flags: readonly string[] = [],
  settings: Readonly<Record<string, string>> = {},
): Promise<ServerProcess> {
  return startServer({
    name: 'Tenantry',
    flags: [...leashed(compiled), ...startFlags, ...flags],
    program: compiled.program('src/main.ts'),
    arguments: () => [],
    environment: (port) => ({
      PORT: String(port),
      DATABASE_URL: world.app.primaryUrl,
      DATABASE_REPLICA_URLS: world.app.replicaUrls.join(','),
      DATABASE_POOL_MAX: String(poolMax),
      READ_AFTER_WRITE_WINDOW_MS: String(readAfterWriteWindowMs),
      JWT_SECRET: world.jwtSecret,
      ...settings,
    }),
  });
}

function opponent(key: ContenderKey, label: string, about: string, dialect: Dialect): Contender {
  return {
    key,
    label,
    about,
    dialect,
    start: (world, compiled, flags = []) =>
      startServer({
        name: label,
        flags: [...leashed(compiled), ...flags],
        program: compiled.program(`bench/opponents/${key}.ts`),
        arguments: (port) => [
          String(port),
          String(poolMax),
          dialect === 'token' ? world.app.primaryUrl : world.plainUrl,
          ...(dialect === 'token' ? [world.jwtSecret] : []),
        ],
        environment: () => ({}),
      }),
  };
}

function leashed(compiled: Compiled): string[] {
  return ['--import', compiled.program('bench/leash.ts')];
}
