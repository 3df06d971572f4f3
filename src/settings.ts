import { z } from 'zod';
import { parseSigningKeys } from './auth/signing-keys.ts';

/**
 * The single source of what can be set: validation, defaults, `.env.example`, `tenantry config print` and the table in
 * the README come from it.
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
  DATABASE_ADMISSION: {
    schema: z.enum(['fair', 'off']),
    default: 'fair',
    about:
      'fair: tenants share the connections of a node by the time they hold them. off: first come, first served.',
  },
  DATABASE_LONG_UNITS_MAX: {
    schema: integer(1, 1000),
    default: '1',
    about:
      'Units of work at once, per node and process, of tenants whose units take ten times as long as others (and 20 ms), while others are about. Half of the cores of PostgreSQL, divided by the processes, is a good number.',
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
  TENANT_REQUESTS_PER_MINUTE: {
    schema: integer(1, 1_000_000_000),
    about:
      'Requests a minute of tenants whose own limits do not say; in each process, or in all together with REDIS_URL. Unset: no limit.',
  },
  TENANT_CONCURRENT_REQUESTS: {
    schema: integer(1, 1_000_000),
    about: 'Requests at once, per process, of tenants whose own limits do not say. Unset: no limit.',
  },
  TENANT_MAX_ROWS: {
    schema: integer(1, 1_000_000_000),
    about: 'Rows of tenants whose own limits do not say. Unset: no limit.',
  },
  TENANT_MAX_USERS: {
    schema: integer(1, 1_000_000_000),
    about: 'Users of tenants whose own limits do not say. Unset: no limit.',
  },
  TENANT_MAX_API_KEYS: {
    schema: integer(1, 1_000_000_000),
    about: 'API keys of tenants whose own limits do not say. Unset: no limit.',
  },
  LOGIN_FAILURES_PER_ACCOUNT: {
    schema: integer(1, 1_000_000),
    default: '10',
    about: 'Wrong passwords for one account within 15 minutes; then it cannot log in until they are over.',
  },
  LOGIN_FAILURES_PER_ADDRESS: {
    schema: integer(1, 1_000_000),
    default: '100',
    about: 'Wrong passwords from one IP address (IPv6: /64) within 15 minutes.',
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
      'Redis or Valkey, in which processes tell each other what actors wrote, and count requests and logins together. Without it each knows its own only.',
    secret: true,
  },
  JWT_SECRET: {
    schema: z.string().min(32, 'at least 32 characters are needed: openssl rand -base64 48'),
    about:
      'Signs access tokens (HS256; unless JWT_KEYS does), page cursors, consistency tokens and exports. At least 32 characters.',
    secret: true,
  },
  JWT_KEYS: {
    schema: signingKeys(),
    about:
      'JSON Web Key Set, each key with kid and alg (HS256, ES256, RS256): the first signs access tokens, all verify. Instead of JWT_SECRET, or beside it.',
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
  TENANT_RETENTION_DAYS: {
    schema: integer(0, 36_500),
    default: '30',
    about:
      'A deleted tenant can be restored for this long, and is not purged before unless that is forced. Days.',
  },
  DELETED_ROW_RETENTION_DAYS: {
    schema: integer(0, 36_500),
    default: '90',
    about:
      'A deleted row of a tenant can be restored for this long; then it is deleted for good, by a job once a day. Days. 0: rows are kept.',
  },
  PROVISION_WARM: {
    schema: integer(0, 100),
    default: '0',
    about:
      'Schemas kept ready, by all processes together, so that making a tenant of isolation schema makes no table. 0: none.',
  },
  EXPORT_DIR: {
    schema: z.string().min(1),
    about:
      'Folder for exports that are made as jobs, on the machine of the process that makes them. Unset: there are none.',
  },
  MIGRATE_WATCH_URLS: {
    schema: z
      .string()
      .transform(splitList)
      .pipe(z.array(z.url({ protocol: /^https?$/ }))),
    default: '',
    about:
      'The /metrics of processes that serve tenants, separated by commas: a run of the fleet gives way while they answer clients, and halts when too many of their answers fail.',
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

export interface Setting {
  schema: z.ZodType;
  /** As text, the way it would stand in the environment. Without one the setting may be absent. */
  default?: string;
  about: string;
  /** Shown as *** by `config print`. */
  secret?: true;
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

function signingKeys() {
  return z.string().transform((text, context) => {
    const { keys, problems } = parseSigningKeys(text);
    if (keys !== undefined) return keys;
    for (const message of problems) context.addIssue({ code: 'custom', message });
    return z.NEVER;
  });
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
