import type { KeyObject } from 'node:crypto';
import { type Config, requireSetting } from './config.ts';
import type { Directory } from './control/directory.ts';
import type { Migrator } from './control/migrations/migrator.ts';
import { createExporter, type Exporter } from './control/tenants/export.ts';
import { createImporter, type Importer } from './control/tenants/import.ts';
import { keyFor } from './credentials.ts';
import { type ControlDatabase, createSnapshots, type Database, type Snapshots } from './db/index.ts';
import type { Kernel } from './kernel.ts';

/** On connections of their own: an idle one that is lost is replaced, and nothing has happened. */
export function buildSnapshots(config: Config, db: Pick<Database, 'nodes'>): Snapshots {
  return createSnapshots({
    primaryUrl: requireSetting(config, 'DATABASE_URL'),
    replicaUrls: config.DATABASE_REPLICA_URLS,
    nodes: () => db.nodes(),
  });
}

/** Reads tenants out, from where the data plane reads them. @throws ConfigError without JWT_SECRET or JWT_KEYS */
export function buildExporter(
  kernel: Kernel,
  { database }: { database: ControlDatabase },
  { snapshots }: { snapshots: Snapshots },
): Exporter {
  return createExporter({ database, snapshots, clock: kernel.clock, key: exportKey(kernel) });
}

/** Needs JWT_SECRET or JWT_KEYS only to check a signature. @param directory told of new tenants */
export function buildImporter(kernel: Kernel, migrator: Migrator, directory?: Directory): Importer {
  return createImporter({
    migrator,
    key: () => exportKey(kernel),
    ...(directory === undefined ? {} : { directory }),
  });
}

/** Signs exports. */
function exportKey({ config }: Kernel): KeyObject {
  return keyFor(config, 'tenant exports');
}
