import type { KeyObject } from 'node:crypto';
import type { Writable } from 'node:stream';
import { type Clock, isoTime } from '../../clock.ts';
import {
  type Author,
  type ControlDatabase,
  copyRows,
  type ReadSession,
  schemaOf,
  type Snapshot,
  type Snapshots,
  type TableShape,
  type Tenant,
  tenantId,
  tenantTables,
} from '../../db/index.ts';
import { AppError, notFound } from '../../errors.ts';
import { recordPlatformEvent } from '../audit/repository.ts';
import { appliedIn } from '../migrations/ledger.ts';
import {
  createTally,
  formatVersion,
  type Manifest,
  manifestLine,
  type TableSum,
  trailerLine,
} from './export-format.ts';
import { requireRows } from './lifecycle.ts';
import { createOutlet, type Outlet } from './outlet.ts';
import { findTenant } from './repository.ts';
import type { TenantView } from './schema.ts';
import { command } from './service.ts';

export interface Exporter {
  /**
   * Gives all rows of a tenant, deleted ones and password hashes included, as they were at one moment after the call: what
   * was acknowledged before it is there. Memory does not grow with the number of rows.
   *
   * @throws AppError not_found; illegal_state once the tenant is being purged; unavailable when the servers cannot do it now; tenant_migrating during a migration.
   *   Once `onStart` has been called the sink holds a part without a trailer, which no import takes
   */
  exportTenant(slugOrId: string, options: ExportOptions): Promise<ExportReport>;
}

export interface ExportOptions {
  /** Whom the platform's audit names, before the first byte is written. A command by default. */
  author?: Author;
  /** Written to and not ended. An error or its end stops the export; errors after it are for whoever made the sink. */
  sink: Writable;
  /** Called before the first byte is written; until then nothing has been, and another server may be tried. */
  onStart?: (manifest: Manifest) => void;
  /** Called often: some ten times for each megabyte. */
  onProgress?: (progress: ExportProgress) => void;
  signal?: AbortSignal;
  /** Leaves the replicas alone. Default false. */
  primaryOnly?: boolean;
}

export interface ExportProgress {
  table: string;
  /** Of all tables so far. */
  rows: number;
  bytes: number;
}

export interface ExportReport {
  tenant: { id: string; slug: string };
  /** `primary` or `replica-<n>`. */
  node: string;
  rows: number;
  bytes: number;
  tables: TableSum[];
}

export interface ExporterParts {
  database: ControlDatabase;
  snapshots: Snapshots;
  clock: Clock;
  /** Signs exports. */
  key: KeyObject;
}

/**
 * Credentials of sessions and programs: a copy of a tenant must not open to whoever holds a key to the original. And what
 * was answered to requests of the original, which are none of the copy's.
 */
const leftOut: ReadonlySet<string> = new Set(['refresh_tokens', 'api_keys', 'idempotency_keys']);
const lineFeed = 10;

interface Source {
  view: TenantView;
  tenant: Tenant;
  tables: TableShape[];
  migrations: string[];
}

export function createExporter({ database, snapshots, clock, key }: ExporterParts): Exporter {
  async function exportTenant(slugOrId: string, options: ExportOptions): Promise<ExportReport> {
    const source = await database.read((session) => describe(session, slugOrId));
    const { id } = source.tenant;
    const event = { action: 'tenants.export', resource: 'tenants', resourceId: id, tenantId: id };
    await database.write((session) => recordPlatformEvent(session, options.author ?? command, event));
    const outlet = createOutlet(options.sink, options.signal);
    let started = false;
    try {
      return await snapshots.withSnapshot(
        source.tenant,
        {
          tables: source.tables.map(({ name }) => name),
          signal: outlet.signal,
          repeatable: () => !started,
          primaryOnly: options.primaryOnly ?? false,
        },
        async (snapshot) => {
          const tables = await tablesIn(snapshot, source);
          const manifest = manifestOf({ ...source, tables }, clock);
          return writeAll(snapshot, { ...source, tables }, manifest, outlet, {
            ...options,
            onStart: () => {
              started = true;
              options.onStart?.(manifest);
            },
          });
        },
      );
    } finally {
      outlet.close();
    }
  }

  /** As the snapshot shows them. @throws AppError tenant_migrating when a migration has come in between */
  async function tablesIn(snapshot: Snapshot, { tenant, tables, migrations }: Source): Promise<TableShape[]> {
    const shown = exported(await tenantTables(snapshot, tenant.schema));
    const applied = await database.read((session) => appliedIn(session, tenant.schema));
    // Only those that were known could be locked before the snapshot was taken.
    const locked = shown.every(({ name }) => tables.some((table) => table.name === name));
    if (locked && applied.join() === migrations.join()) return shown;
    throw new AppError('tenant_migrating', 'The tenant is being migrated.', { retryAfterS: 1 });
  }

  async function writeAll(
    snapshot: Snapshot,
    { tenant, tables }: Source,
    manifest: Manifest,
    outlet: Outlet,
    { onStart, onProgress }: Pick<ExportOptions, 'onProgress'> & { onStart: () => void },
  ): Promise<ExportReport> {
    const first = manifestLine(manifest);
    const sums: TableSum[] = [];
    let rows = 0;
    let bytes = 0;
    async function give(chunk: Buffer): Promise<void> {
      if (bytes === 0) {
        onStart();
        bytes = first.length;
        await outlet.give(first);
      }
      bytes += chunk.length;
      await outlet.give(chunk);
    }
    for (const table of tables) {
      const tally = createTally(table.name);
      for await (const chunk of snapshot.copy(copyRows(tenant.id, tenant.schema, table))) {
        const count = linesIn(chunk);
        tally.add(chunk, count);
        rows += count;
        await give(chunk);
        onProgress?.({ table: table.name, rows, bytes });
      }
      sums.push(tally.sum());
    }
    await give(trailerLine(key, first, sums));
    return { tenant: { id: tenant.id, slug: tenant.slug }, node: snapshot.node, rows, bytes, tables: sums };
  }

  return { exportTenant };
}

async function describe(session: ReadSession, slugOrId: string): Promise<Source> {
  const view = await findTenant(session, slugOrId);
  if (view === undefined) throw notFound('There is no such tenant.');
  requireRows(view);
  const { slug, isolation } = view;
  const tenant = { id: tenantId(view.id), slug, isolation, schema: schemaOf(isolation, slug) };
  return {
    view,
    tenant,
    tables: exported(await tenantTables(session, tenant.schema)),
    migrations: await appliedIn(session, tenant.schema),
  };
}

/** @throws Error when a table that stays refers to one that is left out: its rows could not be imported */
function exported(tables: readonly TableShape[]): TableShape[] {
  const kept = tables.filter(({ name }) => !leftOut.has(name));
  for (const { name, references } of kept) {
    const missing = references.find((target) => leftOut.has(target));
    if (missing !== undefined) throw new Error(`${name} refers to ${missing}, which is not exported`);
  }
  return kept;
}

function manifestOf({ view, tables, migrations }: Source, clock: Clock): Manifest {
  const { id, slug, name, isolation, limits } = view;
  return {
    format: 'tenantry',
    version: formatVersion,
    exportedAt: isoTime(clock.nowMs()),
    tenant: { id, slug, name, isolation, limits },
    migrations,
    tables: tables.map((table) => ({
      name: table.name,
      columns: table.columns.map((column) => column.name),
    })),
  };
}

function linesIn(chunk: Buffer): number {
  let count = 0;
  for (let at = chunk.indexOf(lineFeed); at >= 0; at = chunk.indexOf(lineFeed, at + 1)) count += 1;
  return count;
}
