import { requireSetting } from './config.ts';
import { platformAuditRoutes } from './control/audit/routes.ts';
import { clusterRoutes } from './control/cluster/routes.ts';
import type { Directory } from './control/directory.ts';
import type { JobHandlers } from './control/jobs/job.ts';
import { jobRoutes } from './control/jobs/routes.ts';
import { createJobService, type JobService } from './control/jobs/service.ts';
import { createJobWorker, type JobWorker } from './control/jobs/worker.ts';
import { createTenantKeyService, type TenantKeyService } from './control/keys/service.ts';
import { createDrift, type Drift } from './control/migrations/drift.ts';
import { createMigrator, type MigratorOptions } from './control/migrations/migrator.ts';
import { createRepairer, type Repairer } from './control/migrations/repair.ts';
import { migrationRoutes } from './control/migrations/routes.ts';
import type { Runner } from './control/migrations/runner.ts';
import { operatorRoutes } from './control/operators/routes.ts';
import { createFleetService, type FleetService, migrateHandler } from './control/migrations/service.ts';
import { createOperatorService } from './control/operators/service.ts';
import { createActingService } from './control/tenants/acting.ts';
import { createExportService, exportHandler } from './control/tenants/export-job.ts';
import type { Importer } from './control/tenants/import.ts';
import { moveHandler } from './control/tenants/move/job.ts';
import { createMoveService, type MoveService } from './control/tenants/move/service.ts';
import { createCertifier } from './control/tenants/purge/certificate.ts';
import { purgeHandler } from './control/tenants/purge/job.ts';
import { createPace } from './control/tenants/purge/pace.ts';
import { createPurgeService, type PurgeService } from './control/tenants/purge/service.ts';
import { createRetention, retentionHandler } from './control/tenants/retention/job.ts';
import { tenantRoutes } from './control/tenants/routes.ts';
import { createTenantService, type TenantService } from './control/tenants/service.ts';
import { createWarmPool, type WarmPool } from './control/tenants/warm.ts';
import { keyFor, tokensOf } from './credentials.ts';
import {
  type ControlDatabase,
  createControlDatabase,
  type Database,
  schemaName,
  type Snapshots,
} from './db/index.ts';
import type { CreateApiKey, NewApiKeyView } from './features/api-keys/schema.ts';
import { insertApiKey, revokeApiKey } from './features/api-keys/service.ts';
import { insertOwner } from './features/users/service.ts';
import { buildRunner, leaseConnections } from './fleet.ts';
import type { Mount } from './http/app.ts';
import { authenticateOperator } from './http/authenticate.ts';
import type { Lists } from './http/list.ts';
import { idleErrorLog, type Kernel } from './kernel.ts';
import { buildExporter, buildImporter } from './transfer.ts';

/** What the admin API shows, and takes, of the data plane beside it. */
interface Served {
  db: Pick<Database, 'nodes'>;
  snapshots: Snapshots;
}

/** What runs the platform: the role tenantry_owner, tenants and migrations. */
export interface ControlPlane {
  database: ControlDatabase;
  tenants: TenantService;
  purges: PurgeService;
  moves: MoveService;
  keys: TenantKeyService<CreateApiKey, NewApiKeyView>;
  importer: Importer;
  runner: Runner;
  fleet: FleetService;
  drift: Drift;
  repairer: Repairer;
  warm: WarmPool;
  jobs: JobService;
  /** Runs jobs in this process, once it is started. */
  worker: JobWorker;
  /** Makes the first operator when OPERATOR_EMAIL is set and there is none. */
  ensureOperator(): Promise<void>;
  /** The admin API, without what is common to both. @throws ConfigError without JWT_SECRET or JWT_KEYS */
  mounts(lists: Lists, data: Served & { draining: () => boolean }): Mount[];
  stop(): Promise<void>;
}

/**
 * @param directory told that tenants have changed; absent where no data plane is served
 * @param served what is served beside it: how far replicas are behind, for work that gives way to them, and where tenants are
 *   read out
 */
export function buildControlPlane(kernel: Kernel, directory?: Directory, served?: Served): ControlPlane {
  const { config, clock, logger, passwords, telemetry, migrationsFolder, migrations, step } = kernel;
  const adminUrl = requireSetting(config, 'DATABASE_ADMIN_URL');
  const database = createControlDatabase({
    url: adminUrl,
    schema: schemaName('control'),
    clock,
    observer: telemetry.database,
    onIdleError: idleErrorLog(logger),
  });
  const ladders = migrationsFolder === undefined ? {} : { folder: migrationsFolder };
  const openMigrator = (own: Pick<MigratorOptions, 'poolMax' | 'applicationName'> = {}) =>
    createMigrator({ adminUrl, clock, ...own, ...ladders });
  const migrator = openMigrator();
  const told = {
    ...(directory === undefined ? {} : { directory }),
    ...(step === undefined ? {} : { step }),
  };
  const warm = createWarmPool({
    ...{ database, migrator, size: config.PROVISION_WARM },
    ...(step === undefined ? {} : { step }),
  });
  const tendWarm = () => {
    // A command ends soon, and may not have been told the number that those who serve have.
    if (served === undefined) return;
    void warm.tend().catch((error: Error) => {
      logger.warn({ error: error.message }, 'schemas for tenants to come could not be looked after');
    });
  };
  telemetry.watchWarm(() => warm.ready());
  const tenants = createTenantService({
    database,
    migrator,
    passwords,
    warm: { claim: warm.claim, tend: tendWarm },
    insertOwner,
    ...told,
  });
  const pace = createPace({
    nodes: served && (() => served.db.nodes()),
    maxLagMs: config.MAX_REPLICA_LAG_MS,
    clock,
  });
  const connect = leaseConnections(adminUrl, idleErrorLog(logger));
  const nodes = served && (() => served.db.nodes());
  const runner = buildRunner({
    ...{ config, clock, logger, database, migrator, openMigrator, connect, pace, nodes, migrations },
  });
  const jobs = createJobService(database);
  const certifier = () => createCertifier(keyFor(config, 'purge certificates'));
  const fleet = createFleetService({ database, jobs, runner });
  const handlers: JobHandlers = {
    migrate: migrateHandler({ database, runner }),
    purge: purgeHandler({ database, migrator, clock, pace, certifier, ...told }),
    retention: retentionHandler({ database, migrator, clock, pace }),
    move: moveHandler({ database, migrator, clock, pace, maxLagMs: config.MAX_REPLICA_LAG_MS, ...told }),
    ...(served === undefined || config.EXPORT_DIR === undefined
      ? {}
      : {
          export: exportHandler({
            ...{ database, clock, folder: config.EXPORT_DIR },
            exporter: buildExporter(kernel, { database }, served),
          }),
        }),
  };
  const exports = createExportService({ database, jobs }, config.EXPORT_DIR);
  const moves = createMoveService({ database, jobs, ...told });
  const purges = createPurgeService({
    database,
    migrator,
    jobs,
    clock,
    retentionDays: config.TENANT_RETENTION_DAYS,
    certifier,
    ...told,
  });
  const retention = createRetention({
    ...{ database, jobs, clock },
    days: config.DELETED_ROW_RETENTION_DAYS,
  });
  const worker = createJobWorker({
    adminUrl,
    database,
    handlers,
    clock,
    logger,
    listen: { tenantry_tenants: () => void directory?.refresh() },
    async tend() {
      tendWarm();
      await moves.tend();
      await retention.tend();
    },
  });
  // Commands of the CLI need no key to sign with.
  const operators = () => createOperatorService({ database, passwords, tokens: tokensOf(kernel) });
  const keys = createTenantKeyService({
    tenants,
    migrator,
    insertKey: (session, input: CreateApiKey) => insertApiKey(session, input, { userId: null, clock }),
    revokeKey: async (session, id) => {
      await revokeApiKey(session, id);
    },
  });

  return {
    database,
    tenants,
    purges,
    moves,
    keys,
    importer: buildImporter(kernel, migrator, directory),
    runner,
    fleet,
    drift: createDrift({ database, adminUrl, clock, ...ladders }),
    repairer: createRepairer({ database, openMigrator, connect, clock }),
    warm,
    jobs,
    worker,
    async ensureOperator() {
      const { OPERATOR_EMAIL: email, OPERATOR_PASSWORD: password } = config;
      if (email !== undefined && password !== undefined) {
        await operators().ensureFirst({ email, password });
      }
    },
    mounts(lists, data) {
      const tokens = tokensOf(kernel);
      const before = [authenticateOperator(tokens)];
      return [
        { path: '/admin/v1/auth', before: [], router: operatorRoutes(operators(), kernel.limiter.logins) },
        {
          path: '/admin/v1/tenants',
          before,
          router: tenantRoutes({
            tenants,
            purges,
            moves,
            exports,
            acting: createActingService({ tenants, migrator, tokens, ...told }),
            exporter: buildExporter(kernel, { database }, data),
            lists,
            idempotencyKey: keyFor(config, 'idempotency'),
          }),
        },
        { path: '/admin/v1/audit-events', before, router: platformAuditRoutes(database, lists) },
        { path: '/admin/v1/jobs', before, router: jobRoutes(jobs, lists) },
        { path: '/admin/v1/migrations', before, router: migrationRoutes(fleet, lists, data.draining) },
        { path: '/admin/v1/cluster', before, router: clusterRoutes(() => data.db.nodes()) },
      ];
    },
    async stop() {
      await worker.stop();
      await warm.stop();
      await database.stop();
      await migrator.stop();
    },
  };
}
