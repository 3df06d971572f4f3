import type { z } from 'zod';
import { type Setting, settings } from './settings.ts';

/** The environment as one frozen object (settings.ts says what can be in it). Read once, at the edge. */

type Settings = typeof settings;
export type SettingName = keyof Settings;
type Value<N extends SettingName> = z.output<Settings[N]['schema']>;
type Values = {
  readonly [N in SettingName]: Settings[N] extends { default: string } ? Value<N> : Value<N> | undefined;
};

export type Config = Readonly<Values & { production: boolean }>;

/** What the process is about to do; decides which settings must be there. */
export type Purpose = 'serve' | 'manage' | 'export' | 'seed' | 'print';
const required: Record<Purpose, readonly SettingName[]> = {
  serve: ['DATABASE_URL'],
  manage: ['DATABASE_ADMIN_URL'],
  export: ['DATABASE_URL', 'DATABASE_ADMIN_URL'],
  seed: ['DATABASE_URL', 'DATABASE_ADMIN_URL'],
  print: [],
};

/** All that is wrong with the environment, a line each. Values are never repeated: they may be secrets. */
export class ConfigError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`The configuration is not valid:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

/**
 * Reads and checks the environment. An empty variable counts as absent.
 *
 * @throws ConfigError with all problems at once.
 */
export function loadConfig(env: Readonly<Record<string, string | undefined>>, purpose: Purpose): Config {
  const problems: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries<Setting>(settings)) {
    const text = env[name]?.trim() || setting.default;
    if (text === undefined) {
      if (required[purpose].includes(name as SettingName))
        problems.push(`${name} is missing: ${setting.about}`);
      continue;
    }
    const parsed = setting.schema.safeParse(text);
    if (parsed.success) values[name] = parsed.data;
    else problems.push(...parsed.error.issues.map((issue) => `${name}: ${issue.message}`));
  }
  // The loop above checked every value against the schema that Values is derived from.
  const config = Object.freeze({ ...values, production: env['NODE_ENV'] === 'production' }) as Config;
  const signs = env['JWT_SECRET']?.trim() || env['JWT_KEYS']?.trim();
  if ((purpose === 'serve' || purpose === 'export') && !signs) problems.push(missingSigner);
  problems.push(...contradictions(config));
  if (problems.length > 0) throw new ConfigError(problems);
  return config;
}

/** Said wherever access tokens are to be made and nothing is there to sign them. */
export const missingSigner = `JWT_SECRET is missing: ${settings.JWT_SECRET.about} Or set JWT_KEYS.`;

function* contradictions(config: Config): Generator<string> {
  if (config.MAX_REPLICA_LAG_MS > config.READ_AFTER_WRITE_WINDOW_MS) {
    yield 'MAX_REPLICA_LAG_MS must not exceed READ_AFTER_WRITE_WINDOW_MS: a caller could miss its own write after the window';
  }
  if ((config.OPERATOR_EMAIL === undefined) !== (config.OPERATOR_PASSWORD === undefined)) {
    yield 'OPERATOR_EMAIL and OPERATOR_PASSWORD belong together';
  }
  if (config.OPERATOR_PASSWORD !== undefined && Buffer.byteLength(config.OPERATOR_PASSWORD) > 72) {
    yield 'OPERATOR_PASSWORD: bcrypt reads 72 bytes at most';
  }
  if (config.DATABASE_URL !== undefined && config.DATABASE_REPLICA_URLS?.includes(config.DATABASE_URL)) {
    yield 'DATABASE_REPLICA_URLS names the primary of DATABASE_URL';
  }
  if (config.PRIMARY_SPILLOVER_BURST !== undefined && config.PRIMARY_SPILLOVER_RPS === undefined) {
    yield 'PRIMARY_SPILLOVER_BURST belongs to PRIMARY_SPILLOVER_RPS';
  }
  if (config.production) yield* productionProblems(config);
}

function* productionProblems(config: Config): Generator<string> {
  if (/change|example|secret|placeholder|development/i.test(config.JWT_SECRET ?? '')) {
    yield 'JWT_SECRET looks like a placeholder: openssl rand -base64 48';
  }
  if (/password|change|example/i.test(config.OPERATOR_PASSWORD ?? '')) {
    yield 'OPERATOR_PASSWORD looks like a placeholder';
  }
  if (config.BCRYPT_COST < 10) yield 'BCRYPT_COST must be at least 10 in production';
}

/** A setting that the purpose given to loadConfig has made sure of. */
export function requireSetting<N extends SettingName>(config: Config, name: N): NonNullable<Config[N]> {
  const value = config[name];
  if (value === undefined) throw new ConfigError([`${name} is missing: ${settings[name].about}`]);
  return value;
}

/** The settings as the process sees them, one `NAME=value` a line; secrets are hidden. */
export function printConfig(config: Config): string {
  return Object.entries<Setting>(settings)
    .map(([name, setting]) => {
      const value = config[name as SettingName];
      if (value === undefined) return `# ${name} is not set`;
      const items = Array.isArray(value) ? value : [String(value)];
      if (setting.secret && items.length > 0) return `${name}=***`;
      return `${name}=${items.map(String).join(',')}`;
    })
    .join('\n');
}

/** The text of `.env.example`. */
export function exampleEnv(): string {
  const entries = Object.entries<Setting>(settings).map(([name, setting]) =>
    setting.default === undefined
      ? `# ${setting.about}\n# ${name}=`
      : `# ${setting.about}\n${name}=${setting.default}`,
  );
  return `# Generated by: npx tenantry config print --example > .env.example\n\n${entries.join('\n\n')}\n`;
}
