import type { Express } from 'express';
import type { Logger } from 'pino';
import { type Config, requireSetting } from './config.ts';
import { buildControlPlane, type ControlPlane } from './control-plane.ts';
import { warnOfConnections } from './control/connections.ts';
import { createDirectory, type Directory } from './control/directory.ts';
import { createLadder } from './control/migrations/ladder.ts';
import { guardSchemas } from './control/schema-guard.ts';
import {
  buildIssued,
  type IssuedCredentials,
  keyFor,
  keysFor,
  signingKeysOf,
  tenantEdge,
  tokensOf,
} from './credentials.ts';
import { createDatabase, type Database, type RowLimit, type Snapshots } from './db/index.ts';
import { apiKeyRoutes } from './features/api-keys/routes.ts';
import { type ApiKeyService, createApiKeyService } from './features/api-keys/service.ts';
import { auditEventRoutes } from './features/audit-events/routes.ts';
import { createAuditEventService } from './features/audit-events/service.ts';
import { orderRoutes } from './features/orders/routes.ts';
import { createOrderService, type OrderService } from './features/orders/service.ts';
import { productRoutes } from './features/products/routes.ts';
import { createProductService, type ProductService } from './features/products/service.ts';
import { authRoutes, meRoutes } from './features/sessions/routes.ts';
import { createSessionService, endSessions } from './features/sessions/service.ts';
import { userRoutes } from './features/users/routes.ts';
import { createUserService, type UserService } from './features/users/service.ts';
import { type AppParts, createApp, type Mount } from './http/app.ts';
import { authenticateTenant } from './http/authenticate.ts';
import { consistency } from './http/consistency.ts';
import { createConsistencyTokens } from './http/consistency-token.ts';
import { docsRoutes } from './http/docs.ts';
import type { Health } from './http/health.ts';
import { createIdempotency } from './http/idempotency.ts';
import { jwksRoutes } from './http/jwks.ts';
import { createLists, type Lists } from './http/list.ts';
import { openApiRoutes } from './http/openapi/routes.ts';
import { tenantOfCredential } from './http/resolve-tenant.ts';
import { createKernel, idleErrorLog, type Kernel, type Overrides } from './kernel.ts';
import { buildSightings } from './sightings.ts';
import { describeTenantApi } from './tenant-api.ts';
import { buildSnapshots } from './transfer.ts';

export { buildControlPlane, type ControlPlane } from './control-plane.ts';
export { createKernel, type Kernel, type Overrides } from './kernel.ts';

/** Everything is made here, once. Nothing connects before `start()`. */

/** The largest JSON body taken. */
const bodyLimitBytes = 1_048_576;
/** A merge patch (RFC 7396) of a resource of tenants is what JSON says there anyway: no field of them has fields of its own. */
const mergePatch = 'application/merge-patch+json';

/** What serves tenants: the database of the role tenantry_app and the features on it. */
export interface DataPlane {
  db: Database;
  rowLimit: RowLimit;
  snapshots: Snapshots;
  directory: Directory;
  users: UserService;
  products: ProductService;
  orders: OrderService;
  apiKeys: ApiKeyService;
  issued: IssuedCredentials;
  start(): Promise<void>;
  stop(): Promise<void>;
}

export function buildDataPlane(kernel: Kernel): DataPlane {
  const { config, clock, logger, passwords, telemetry, limiter, database } = kernel;
  const seen = buildSightings(kernel);
  const unguarded = createDatabase({
    sightings: seen.make,
    primaryUrl: requireSetting(config, 'DATABASE_URL'),
    replicaUrls: config.DATABASE_REPLICA_URLS,
    poolMax: config.DATABASE_POOL_MAX,
    admission: config.DATABASE_ADMISSION,
    longUnitsMax: config.DATABASE_LONG_UNITS_MAX,
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
  const directory = createDirectory({
    database: unguarded,
    clock,
    ladder: createLadder('tenant', kernel.migrationsFolder),
    defaults: limiter.defaults,
  });
  const db = guardSchemas(unguarded, directory);
  const issued = buildIssued(kernel, db);
  const rowLimit = limiter.rows(db);
  const snapshots = buildSnapshots(config, db);
  return {
    db,
    rowLimit,
    snapshots,
    issued,
    directory,
    users: createUserService({ db, passwords, rowLimit, revocations: issued.revocations, endSessions }),
    products: createProductService(db, rowLimit),
    orders: createOrderService(db, rowLimit),
    apiKeys: createApiKeyService({ db, clock, forget: (...key) => issued.keyHolders.forget(...key) }),
    async start() {
      await Promise.all([limiter.start(), seen.start(), directory.start()]);
      await db.start();
    },
    async stop() {
      await snapshots.stop();
      await db.stop();
      seen.stop();
      limiter.stop();
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
    config.DATABASE_ADMIN_URL === undefined ? undefined : buildControlPlane(kernel, data.directory, data);

  if (control !== undefined) telemetry.watchFleet(() => control.fleet.status());

  let draining = false;
  const health: Health = {
    draining: () => draining,
    ping: () => data.db.ping(),
    nodes: () => data.db.nodes(),
  };
  const lists = createLists(keyFor(config, 'page cursors'));
  const common: Omit<AppParts, 'routes' | 'corsOrigins' | 'observer' | 'patchTypes'> = {
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
      patchTypes: ['application/json', mergePatch],
      corsOrigins: config.CORS_ORIGINS,
      routes: tenantMounts(kernel, data, lists),
    }),
    adminApp:
      control &&
      createApp({
        ...common,
        observer: telemetry.requests('admin'),
        patchTypes: ['application/json'], // the limits of a tenant are set anew, not merged
        metrics: () => telemetry.expose(),
        corsOrigins: [],
        routes: control.mounts(lists, { ...data, draining: health.draining }),
      }),
    data,
    control,
    logger,
    async start() {
      await data.start();
      await warnOfConnections(config, data.db, (line) => logger.warn(line));
      await control?.ensureOperator();
      control?.worker.start();
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

/** The tenant API. A new resource is one line here, and one in tenant-api.ts. */
function tenantMounts(kernel: Kernel, data: DataPlane, lists: Lists): Mount[] {
  const { config, clock, passwords, limiter } = kernel;
  const { db, directory, issued, users, products, orders, apiKeys } = data;
  const tokens = tokensOf(kernel);
  const sessions = createSessionService({
    db,
    passwords,
    tokens,
    revocations: issued.revocations,
    refreshKey: keyFor(config, 'refresh tokens'),
    refreshTtlS: config.REFRESH_TOKEN_TTL_S,
    clock,
  });
  const edge = tenantEdge(tokens, issued, { db, directory });
  const identified = [authenticateTenant(edge), tenantOfCredential(edge, limiter.tenants)];
  const consistencyTokens = createConsistencyTokens({
    key: keyFor(config, 'consistency tokens'),
    systemId: () => db.systemId(),
    standstillMs: () => db.standstillMs(),
    windowMs: config.READ_AFTER_WRITE_WINDOW_MS,
    clock,
  });
  const idempotency = createIdempotency({ db, secrets: keysFor(config, 'idempotency of tenants') });
  const conventions = { lists, idempotency };
  const reading = (kind: 'strong' | 'session') => consistency({ kind }, consistencyTokens);
  const before = [...identified, reading('session')];
  const me = meRoutes(sessions, (scope, input) => users.changePassword(scope, input), idempotency);
  return [
    { path: '/.well-known', before: [], router: jwksRoutes(signingKeysOf(config)) },
    { path: '/v1/auth', before: [], router: authRoutes(sessions, edge, limiter.logins) },
    { path: '/v1/me', before: [...identified, reading('strong')], router: me },
    { path: '/v1/users', before, router: userRoutes(users, conventions) },
    { path: '/v1/products', before, router: productRoutes(products, conventions) },
    { path: '/v1/orders', before, router: orderRoutes(orders, conventions) },
    { path: '/v1/api-keys', before, router: apiKeyRoutes(apiKeys, conventions) },
    { path: '/v1/audit-events', before, router: auditEventRoutes(createAuditEventService(db), conventions) },
    { path: '/openapi.json', before: [], router: openApiRoutes(describeTenantApi) },
    { path: '/docs', before: [], router: docsRoutes() },
  ];
}
