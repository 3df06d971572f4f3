import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parseEnv } from 'node:util';
import type { Io } from './io.ts';

/** Written by `tenantry dev`; beside a running development cluster the other commands need no configuration. */
export const devFolder = '.tenantry';
export const devEnvFile = path.join(devFolder, 'dev.env');

/** The environment as it is, or, when it names no database, completed from the development cluster of this folder. */
export function withDevelopment(env: Io['env'], note: Io['note']): Io['env'] {
  if (env['DATABASE_URL'] || env['DATABASE_ADMIN_URL'] || !existsSync(devEnvFile)) return env;
  note(`using the development cluster (${devEnvFile})`);
  return { ...parseEnv(readFileSync(devEnvFile, 'utf8')), ...env };
}
