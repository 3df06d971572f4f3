import type { KeyObject } from 'node:crypto';
import { v7 as uuidv7 } from 'uuid';
import {
  type Author,
  schemaOf,
  type TableShape,
  type Tenant,
  tenantId,
  tenantTables,
  translateError,
} from '../../db/index.ts';
import { AppError } from '../../errors.ts';
import { recordPlatformEvent } from '../audit/repository.ts';
import type { Directory } from '../directory.ts';
import { appliedIn } from '../migrations/ledger.ts';
import type { Migrator, SchemaWork } from '../migrations/migrator.ts';
import { checkTrailer, type Manifest, readManifest, refused, type TableSum } from './export-format.ts';
import { linesOf } from './lines.ts';
import { createLoading, type LoadProgress, type Target } from './loading.ts';
import { findTenant, insertTenant } from './repository.ts';
import { createTenantSchema, type TenantView } from './schema.ts';
import { command } from './service.ts';

export interface Importer {
  /**
   * Makes a tenant from an export, with a new id and the ids of its rows, in one transaction: whatever fails, and whenever
   * the process dies, nothing is left of it. Memory does not grow with the number of rows.
   *
   * @throws AppError export_refused when the export is damaged, forged, unsigned, of a schema that is not known here, or
   *   cannot be stored; slug_taken; invalid_input for a slug or name that none may have
   */
  importTenant(options: ImportOptions): Promise<ImportReport>;
}

export interface ImportOptions {
  /** The bytes of an export. */
  source: AsyncIterable<Buffer | string>;
  /** Whom the platform's audit names. A command by default. */
  author?: Author;
  /** Default: as exported. */
  slug?: string;
  /** Default: as exported. */
  name?: string;
  /** Default: as exported. */
  isolation?: 'shared' | 'schema';
  /**
   * Takes an export whose signature cannot be checked here, because another installation has made it. Counts and sums
   * are checked all the same; they find damage, and no forgery. Default false.
   */
  unsigned?: boolean;
  /** Called after each batch. */
  onProgress?: (progress: LoadProgress) => void;
}

export interface ImportReport {
  tenant: TenantView;
  rows: number;
  tables: TableSum[];
}

export interface ImporterParts {
  migrator: Migrator;
  /** Told that tenants have changed; absent where no data plane is served. */
  directory?: Directory;
  /** That exports are signed with. */
  key: () => KeyObject;
}

export function createImporter({ migrator, directory, key }: ImporterParts): Importer {
  async function importTenant(options: ImportOptions): Promise<ImportReport> {
    const lines = linesOf(options.source);
    try {
      const first = await lines.next();
      const [line, ...more] = first.value ?? [];
      if (line === undefined) throw refused('The export is empty.');
      const manifest = readManifest(line);
      const { slug, name } = namesOf(options, manifest);
      const isolation = options.isolation ?? manifest.tenant.isolation;
      const schema = schemaOf(isolation, slug);
      const tenant: Tenant = { id: tenantId(uuidv7()), slug, isolation, schema };
      const checkingKey = options.unsigned === true ? undefined : key();
      const report = await migrator.inSchema(tenant.schema, async (work) => {
        await insertTenant(await work.session(), tenant, { name, limits: manifest.tenant.limits });
        if (tenant.isolation === 'schema') {
          await work.createSchema();
          await work.climb();
        }
        const tables = await targetTables(work, tenant, manifest);
        const loading = createLoading(await work.session(tenant), tables, options.onProgress);
        await loading.take(more);
        for await (const next of lines) await loading.take(next);
        const { sums, trailer } = await loading.finish();
        checkTrailer(trailer, checkingKey, Buffer.from(`${line.toString()}\n`), sums);
        await recordPlatformEvent(await work.session(), options.author ?? command, {
          ...{ action: 'tenants.import', resource: 'tenants', resourceId: tenant.id, tenantId: tenant.id },
          after: { slug, name, isolation, limits: manifest.tenant.limits, from: manifest.tenant.id },
        });
        const view = await findTenant(await work.session(), tenant.id);
        if (view === undefined) throw new Error('The tenant that was just made is not there');
        return { tenant: view, rows: sums.reduce((all, { rows }) => all + rows, 0), tables: sums };
      });
      await directory?.refresh();
      return report;
    } catch (error) {
      throw translateError(error);
    } finally {
      await lines.return();
    }
  }

  /** What the rows go into. @throws AppError export_refused when they do not fit */
  async function targetTables(work: SchemaWork, { schema }: Tenant, manifest: Manifest): Promise<Target[]> {
    const session = await work.session();
    const { tenant: known } = await migrator.steps();
    const unknown = manifest.migrations.find((migration) => !known.includes(migration));
    if (unknown !== undefined) {
      throw refused(`The export is of a newer schema: this build does not know the migration ${unknown}.`);
    }
    const applied = await appliedIn(session, schema);
    const pending = manifest.migrations.find((migration) => !applied.includes(migration));
    if (pending !== undefined) {
      throw refused(`The migration ${pending} has not been applied here: migrate first.`);
    }
    const present = await tenantTables(session, schema);
    return manifest.tables.map(({ name, columns }) => targetOf(present, name, columns));
  }

  return { importTenant };
}

const naming = createTenantSchema.pick({ slug: true, name: true });

function namesOf(options: ImportOptions, { tenant }: Manifest): { slug: string; name: string } {
  const names = naming.safeParse({ slug: options.slug ?? tenant.slug, name: options.name ?? tenant.name });
  if (names.success) return names.data;
  const errors = names.error.issues.map(({ path, message }) => ({
    pointer: `/${path.join('/')}`,
    code: 'invalid',
    message,
  }));
  throw new AppError(
    'invalid_input',
    errors.map(({ pointer, message }) => `${pointer}: ${message}`).join(' '),
    {
      errors,
    },
  );
}

function targetOf(present: readonly TableShape[], name: string, columns: readonly string[]): Target {
  const table = present.find((candidate) => candidate.name === name);
  if (table === undefined) throw refused(`The table ${name} of the export is not there any more.`);
  const missing = columns.find((column) => !table.columns.some((candidate) => candidate.name === column));
  if (missing !== undefined)
    throw refused(`The column ${name}.${missing} of the export is not there any more.`);
  const needed = table.columns.find((column) => column.required && !columns.includes(column.name));
  if (needed !== undefined) {
    throw refused(
      `The export is of an older schema: it has no column ${name}.${needed.name}, which is needed.`,
    );
  }
  return { table, columns: table.columns.filter((column) => columns.includes(column.name)) };
}
