import type { Express } from 'express';
import { type Logger, pino } from 'pino';
import { createPasswords, type Passwords } from './auth/passwords.ts';
import { createTokens, deriveKey, type Tokens } from './auth/tokens.ts';
import { type Clock, systemClock } from './clock.ts';
import { type Config, requireSetting } from './config.ts';
import { clusterRoutes } from './control/cluster/routes.ts';
import { connectionBudget, overdrawn } from './control/connections.ts';
import { createDirectory, type Directory } from './control/directory.ts';
import { examine, type Finding } from './control/doctor.ts';
import { createMigrator } from './control/migrations/migrator.ts';
import { migrationRoutes } from './control/migrations/routes.ts';
import { createRunner, type Runner } from './control/migrations/runner.ts';
import { operatorRoutes } from './control/operators/routes.ts';
import { createOperatorService } from './control/operators/service.ts';
import { tenantRoutes } from './control/tenants/routes.ts';
import { createTenantService, type TenantService } from './control/tenants/service.ts';
import {
  type ControlDatabase,
  createControlDatabase,
  createDatabase,
  type Database,
  type DatabaseOptions,
  schemaName,
} from './db/index.ts';
import { orderRoutes } from './features/orders/routes.ts';
import { createOrderService, type OrderService } from './features/orders/service.ts';
import { productRoutes } from './features/products/routes.ts';
import { createProductService, type ProductService } from './features/products/service.ts';
import { authRoutes, meRoutes } from './features/sessions/routes.ts';
import { createSessionService } from './features/sessions/service.ts';
import { userRoutes } from './features/users/routes.ts';
import { createUserService, insertOwner, type UserService } from './features/users/service.ts';
import { type AppParts, createApp, type Mount } from './http/app.ts';
import { authenticateOperator, authenticateUser } from './http/authenticate.ts';
import { consistency } from './http/consistency.ts';
import { createConsistencyTokens } from './http/consistency-token.ts';
import type { Health } from './http/health.ts';
import { createLists, type Lists } from './http/list.ts';
import { tenantOfCredential } from './http/resolve-tenant.ts';
import { buildSightings } from './sightings.ts';
import { createTelemetry, type Telemetry } from './telemetry/telemetry.ts';

/** Everything is made here, once. Nothing connects before `start()`. */

/** Parts that a test replaces. */
export interface Overrides {
  clock?: Clock;
  logger?: Logger;
  /** Where the migration ladders are. */
  migrationsFolder?: string;
  /** How the data plane remembers and chooses: replaced to see that tests notice when a protection is missing. */
  database?: Pick<DatabaseOptions, 'sightings' | 'route'>;
}

/** The largest JSON body taken. */
const bodyLimitBytes = 1_048_576;

/** What everything else stands on. */
export interface Kernel {
  readonly config: Config;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly passwords: Passwords;
  readonly telemetry: Telemetry;
  readonly migrationsFolder: string | undefined;
  readonly database: Overrides['database'];
}

export function createKernel(config: Config, overrides: Overrides = {}): Kernel {
  const { clock = systemClock, logger = pino({ level: config.LOG_LEVEL }) } = overrides;
  return {
    config,
    clock,
    logger,
    telemetry: createTelemetry({ slowStatementMs: config.SLOW_QUERY_MS, clock, logger }),
    passwords: createPasswords(config.BCRYPT_COST),
    migrationsFolder: overrides.migrationsFolder,
    database: overrides.database,
  };
}

/** @throws ConfigError without JWT_SECRET, which commands of the CLI do not need */
function tokensOf({ config, clock }: Kernel): Tokens {
  return createTokens({
    secret: requireSetting(config, 'JWT_SECRET'),
    ttlS: config.ACCESS_TOKEN_TTL_S,
    clock,
  });
}

/** Only the words: node-postgres hangs the whole connection on the error. */
function idleErrorLog(logger: Logger) {
  return (error: Error, pool: string) =>
    logger.warn({ pool, error: error.message }, 'an idle connection was lost');
}

/** What serves tenants: the database of the role tenantry_app and the features on it. */
export interface DataPlane {
  db: Database;
  directory: Directory;
  users: UserService;
  products: ProductService;
  orders: OrderService;
  start(): Promise<void>;
  stop(): Promise<void>;
}

export function buildDataPlane(kernel: Kernel): DataPlane {
  const { config, clock, logger, passwords, telemetry, database } = kernel;
  const seen = buildSightings(kernel);
  const db = createDatabase({
    sightings: seen.make,
    primaryUrl: requireSetting(config, 'DATABASE_URL'),
    replicaUrls: config.DATABASE_REPLICA_URLS,
    poolMax: config.DATABASE_POOL_MAX,
    prepared: config.DATABASE_PREPARED_STATEMENTS === 'on',
    readAfterWriteWindowMs: config.READ_AFTER_WRITE_WINDOW_MS,
    maxReplicaLagMs: config.MAX_REPLICA_LAG_MS,
    spillover: { perSecond: config.PRIMARY_SPILLOVER_RPS, burst: config.PRIMARY_SPILLOVER_BURST },
    clock,
    observer: telemetry.database,
    onNodeChange: (node) => logger.warn({ node: node.name, state: node.state }, 'a node changed its state'),
    onIdleError: idleErrorLog(logger),
    ...database,
  });
  return {
    db,
    directory: createDirectory(db, clock),
    users: createUserService({ db, passwords }),
    products: createProductService(db),
    orders: createOrderService(db),
    async start() {
      await seen.start();
      await db.start();
    },
    async stop() {
      await db.stop();
      seen.stop();
    },
  };
}

/** What runs the platform: the role tenantry_owner, tenants and migrations. */
export interface ControlPlane {
  database: ControlDatabase;
  tenants: TenantService;
  runner: Runner;
  /** Makes the first operator when OPERATOR_EMAIL is set and there is none. */
  ensureOperator(): Promise<void>;
  /** The admin API, without what is common to both. @throws ConfigError without JWT_SECRET */
  mounts(lists: Lists, nodes: DataPlane['db']['nodes']): Mount[];
  stop(): Promise<void>;
}

/** @param directory told of new tenants; absent where no data plane is served */
export function buildControlPlane(kernel: Kernel, directory?: Directory): ControlPlane {
  const { config, clock, logger, passwords, telemetry, migrationsFolder } = kernel;
  const adminUrl = requireSetting(config, 'DATABASE_ADMIN_URL');
  const database = createControlDatabase({
    url: adminUrl,
    schema: schemaName('control'),
    clock,
    observer: telemetry.database,
    onIdleError: idleErrorLog(logger),
  });
  const migrator = createMigrator({
    adminUrl,
    clock,
    ...(migrationsFolder === undefined ? {} : { folder: migrationsFolder }),
  });
  const tenants = createTenantService({
    database,
    migrator,
    passwords,
    insertOwner,
    ...(directory === undefined ? {} : { directory }),
  });
  const runner = createRunner({ database, migrator, clock });
  const operators = (tokens: Tokens) => createOperatorService({ database, passwords, tokens });

  return {
    database,
    tenants,
    runner,
    async ensureOperator() {
      const { OPERATOR_EMAIL: email, OPERATOR_PASSWORD: password } = config;
      if (email !== undefined && password !== undefined) {
        await operators(tokensOf(kernel)).ensureFirst({ email, password });
      }
    },
    mounts(lists, nodes) {
      const tokens = tokensOf(kernel);
      const before = [authenticateOperator(tokens)];
      return [
        { path: '/admin/v1/auth', before: [], router: operatorRoutes(operators(tokens)) },
        { path: '/admin/v1/tenants', before, router: tenantRoutes(tenants, lists) },
        { path: '/admin/v1/migrations', before, router: migrationRoutes(runner) },
        { path: '/admin/v1/cluster', before, router: clusterRoutes(nodes) },
      ];
    },
    async stop() {
      await database.stop();
      await migrator.stop();
    },
  };
}

export interface Tenantry {
  tenantApp: Express;
  /** Only with DATABASE_ADMIN_URL. */
  adminApp: Express | undefined;
  data: DataPlane;
  control: ControlPlane | undefined;
  logger: Logger;
  /** @throws when the primary cannot be reached or the role of DATABASE_URL could walk past row level security */
  start(): Promise<void>;
  /** From now on `/readyz` says draining and answers ask clients to close their connections. */
  beginDraining(): void;
  stop(): Promise<void>;
}

export function build(config: Config, overrides: Overrides = {}): Tenantry {
  const kernel = createKernel(config, overrides);
  const { clock, logger, telemetry } = kernel;
  const data = buildDataPlane(kernel);
  telemetry.watch(() => data.db.nodes());
  const control =
    config.DATABASE_ADMIN_URL === undefined ? undefined : buildControlPlane(kernel, data.directory);

  let draining = false;
  const health: Health = {
    draining: () => draining,
    ping: () => data.db.ping(),
    nodes: () => data.db.nodes(),
  };
  const lists = createLists(deriveKey(requireSetting(config, 'JWT_SECRET'), 'page cursors'));
  const common: Omit<AppParts, 'routes' | 'corsOrigins' | 'observer'> = {
    clock,
    logger,
    health,
    trustProxy: config.TRUST_PROXY,
    bodyLimitBytes,
    deadlineMs: config.REQUEST_DEADLINE_MS,
  };

  return {
    tenantApp: createApp({
      ...common,
      observer: telemetry.requests('tenant'),
      corsOrigins: config.CORS_ORIGINS,
      routes: tenantMounts(kernel, data, lists),
    }),
    adminApp:
      control &&
      createApp({
        ...common,
        observer: telemetry.requests('admin'),
        metrics: () => telemetry.expose(),
        corsOrigins: [],
        routes: control.mounts(lists, () => data.db.nodes()),
      }),
    data,
    control,
    logger,
    async start() {
      await data.start();
      await warnOfConnections(kernel, data);
      await control?.ensureOperator();
    },
    beginDraining() {
      draining = true;
    },
    async stop() {
      await control?.stop();
      await data.stop();
    },
  };
}

async function warnOfConnections({ config, logger }: Kernel, { db }: DataPlane): Promise<void> {
  try {
    const tooMany = overdrawn(await connectionBudget(config, db));
    if (tooMany !== undefined) logger.warn(`connections: ${tooMany}`);
  } catch (error) {
    // No reason not to start.
    logger.warn({ error: (error as Error).message }, 'connections: could not be counted');
  }
}

/** Examines the parts that the configuration names. */
export async function buildDoctor(config: Config): Promise<Finding[]> {
  const kernel = createKernel(config, { logger: pino({ level: 'silent' }) });
  const data = config.DATABASE_URL === undefined ? undefined : buildDataPlane(kernel);
  const control = config.DATABASE_ADMIN_URL === undefined ? undefined : buildControlPlane(kernel);
  try {
    const findings = await examine({ config, db: data?.db, control });
    const unset = [
      ...(data === undefined ? ['DATABASE_URL'] : []),
      ...(control === undefined ? ['DATABASE_ADMIN_URL'] : []),
    ].map((name): Finding => ({ check: name, verdict: 'warn', detail: 'is not set: not looked at' }));
    return [...unset, ...findings];
  } finally {
    await control?.stop();
    await data?.stop();
  }
}

/** The tenant API. A new resource is one line here. */
function tenantMounts(kernel: Kernel, data: DataPlane, lists: Lists): Mount[] {
  const { config, clock, passwords } = kernel;
  const { db, directory, users, products, orders } = data;
  const tokens = tokensOf(kernel);
  const sessions = createSessionService({
    db,
    passwords,
    tokens,
    refreshTtlS: config.REFRESH_TOKEN_TTL_S,
    clock,
  });
  const findTenant = (slugOrId: string) => directory.find(slugOrId);
  const identified = [authenticateUser(tokens), tenantOfCredential(findTenant)];
  const consistencyTokens = createConsistencyTokens({
    key: deriveKey(requireSetting(config, 'JWT_SECRET'), 'consistency tokens'),
    systemId: () => db.systemId(),
    standstillMs: () => db.standstillMs(),
    windowMs: config.READ_AFTER_WRITE_WINDOW_MS,
    clock,
  });
  const reading = (kind: 'strong' | 'session') => consistency({ kind }, consistencyTokens);
  const before = [...identified, reading('session')];
  return [
    { path: '/v1/auth', before: [], router: authRoutes(sessions, findTenant) },
    { path: '/v1/me', before: [...identified, reading('strong')], router: meRoutes(sessions) },
    { path: '/v1/users', before, router: userRoutes(users, lists) },
    { path: '/v1/products', before, router: productRoutes(products, lists) },
    { path: '/v1/orders', before, router: orderRoutes(orders, lists) },
  ];
}
