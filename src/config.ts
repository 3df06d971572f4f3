import { z } from 'zod';

/**
 * The environment as one frozen object. `settings` is the single source: validation, defaults, `.env.example`,
 * `tenantry config print` and the table in the README come from it. Read once, at the edge.
 */
export const settings = {
  PORT: {
    schema: port(),
    default: '3000',
    about: 'Port of the tenant API. 0 takes a free one.',
  },
  ADMIN_PORT: {
    schema: port(),
    default: '3001',
    about: 'Port of the admin API; served only when DATABASE_ADMIN_URL is set. 0 takes a free one.',
  },
  DATABASE_URL: {
    schema: postgresUrl(),
    about: 'Primary, as the role tenantry_app.',
    secret: true,
  },
  DATABASE_REPLICA_URLS: {
    schema: z.string().transform(splitList).pipe(z.array(postgresUrl())),
    default: '',
    about: 'Streaming replicas, as tenantry_app, separated by commas. Empty: the primary answers all reads.',
    secret: true,
  },
  DATABASE_ADMIN_URL: {
    schema: postgresUrl(),
    about:
      'Primary, as the role tenantry_owner, never through a pooler. Needed for the admin API and for migrations.',
    secret: true,
  },
  DATABASE_POOL_MAX: {
    schema: integer(1, 1000),
    default: '10',
    about: 'Connections per node and process.',
  },
  DATABASE_PREPARED_STATEMENTS: {
    schema: z.enum(['on', 'off']),
    default: 'on',
    about: 'off for PgBouncer below 1.21 in transaction mode.',
  },
  READ_AFTER_WRITE_WINDOW_MS: {
    schema: integer(0, 3_600_000),
    default: '5000',
    about: 'For this long after a write, reads of the same actor must have it. Milliseconds.',
  },
  MAX_REPLICA_LAG_MS: {
    schema: integer(0, 3_600_000),
    default: '2000',
    about:
      'A replica further behind than this is not read. At most READ_AFTER_WRITE_WINDOW_MS. Milliseconds.',
  },
  PRIMARY_SPILLOVER_RPS: {
    schema: integer(0, 1_000_000),
    about:
      'Reads a second, per process, that the primary takes over from replicas that have dropped out; the rest gets 503. Unset: all.',
  },
  PRIMARY_SPILLOVER_BURST: {
    schema: integer(1, 1_000_000),
    about: 'Of these, at once at most. Unset: as many as in one second.',
  },
  REDIS_URL: {
    schema: redisUrl(),
    about:
      'Redis or Valkey, in which processes tell each other what actors wrote. Without it each knows its own writes only.',
    secret: true,
  },
  JWT_SECRET: {
    schema: z.string().min(32, 'at least 32 characters are needed: openssl rand -base64 48'),
    about: 'Signs access tokens (HS256) and page cursors. At least 32 characters.',
    secret: true,
  },
  ACCESS_TOKEN_TTL_S: {
    schema: integer(10, 86_400),
    default: '900',
    about: 'Life of an access token. Seconds.',
  },
  REFRESH_TOKEN_TTL_S: {
    schema: integer(60, 31_536_000),
    default: '604800',
    about: 'Life of a refresh token. Seconds.',
  },
  BCRYPT_COST: {
    schema: integer(4, 15),
    default: '12',
    about: 'Cost of password hashes; each step doubles the time. At least 10 in production.',
  },
  OPERATOR_EMAIL: {
    schema: z.email(),
    about: 'First operator of the admin API; made at start when there is no operator yet.',
  },
  OPERATOR_PASSWORD: {
    schema: z.string().min(12, 'at least 12 characters are needed'),
    about: 'Password of the first operator. 12 to 72 bytes.',
    secret: true,
  },
  CORS_ORIGINS: {
    schema: z.string().transform(splitList).pipe(z.array(origin())),
    default: '',
    about: 'Origins of browsers that may call the tenant API, separated by commas. Empty: none.',
  },
  LOG_LEVEL: {
    schema: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']),
    default: 'info',
    about: 'Lines below this level are left out.',
  },
  SLOW_QUERY_MS: {
    schema: integer(0, 600_000),
    default: '500',
    about: 'Statements that take this long or longer are logged, by name. 0: none. Milliseconds.',
  },
  TRUST_PROXY: {
    schema: z.string().transform(splitList),
    default: '',
    about: 'Addresses or networks of proxies whose X-Forwarded-* count, separated by commas. Empty: none.',
  },
  REQUEST_DEADLINE_MS: {
    schema: integer(1, 3_600_000),
    about:
      'Work for a request that takes longer is cancelled and answered with 504; a commit is not. Milliseconds. Unset: no limit but those of PostgreSQL.',
  },
  SHUTDOWN_GRACE_MS: {
    schema: integer(0, 600_000),
    default: '10000',
    about: 'After SIGTERM, how long requests under way may take to end. Milliseconds.',
  },
} as const satisfies Record<string, Setting>;

interface Setting {
  schema: z.ZodType;
  /** As text, the way it would stand in the environment. Without one the setting may be absent. */
  default?: string;
  about: string;
  /** Shown as *** by `config print`. */
  secret?: true;
}

type Settings = typeof settings;
export type SettingName = keyof Settings;
type Value<N extends SettingName> = z.output<Settings[N]['schema']>;
type Values = {
  readonly [N in SettingName]: Settings[N] extends { default: string } ? Value<N> : Value<N> | undefined;
};

export type Config = Readonly<Values & { production: boolean }>;

/** What the process is about to do; decides which settings must be there. */
export type Purpose = 'serve' | 'manage' | 'seed' | 'print';
const required: Record<Purpose, readonly SettingName[]> = {
  serve: ['DATABASE_URL', 'JWT_SECRET'],
  manage: ['DATABASE_ADMIN_URL'],
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
  problems.push(...contradictions(config));
  if (problems.length > 0) throw new ConfigError(problems);
  return config;
}

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
      const text = Array.isArray(value) ? value.join(',') : String(value);
      return `${name}=${setting.secret && text !== '' ? '***' : text}`;
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

function integer(min: number, max: number) {
  return z
    .string()
    .regex(/^\d+$/, 'a whole number is needed')
    .transform(Number)
    .pipe(z.number().min(min, `at least ${min}`).max(max, `at most ${max}`));
}

function port() {
  return integer(0, 65_535);
}

function postgresUrl() {
  return z
    .string()
    .refine(
      (text) => URL.canParse(text) && /^postgres(ql)?:$/.test(new URL(text).protocol),
      'a URL like postgresql://user:password@host:5432/database is needed',
    );
}

function redisUrl() {
  return z
    .string()
    .refine(
      (text) => URL.canParse(text) && /^rediss?:$/.test(new URL(text).protocol),
      'a URL like redis://user:password@host:6379/0 is needed; rediss:// for TLS',
    );
}

function origin() {
  return z
    .string()
    .refine(
      (text) => URL.canParse(text) && new URL(text).origin === text,
      'an origin like https://app.example.com is needed',
    );
}

function splitList(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}
