import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { createKernel } from '../../src/build.ts';
import type { Exporter } from '../../src/control/tenants/export.ts';
import type { ImportOptions, ImportReport } from '../../src/control/tenants/import.ts';
import { buildExporter } from '../../src/transfer.ts';
import type { TestDatabase } from './database.ts';
import { testConfig, type TestTenantry } from './tenantry.ts';

/** The exporter of a running service, for sinks that a test makes. */
export function exporterOf({ tenantry }: TestTenantry, database: TestDatabase): Exporter {
  if (tenantry.control === undefined) throw new Error('There is no control plane');
  return buildExporter(createKernel(testConfig(database)), tenantry.control, tenantry.data);
}

/** By the admin API; whole. */
export async function exportOf(service: TestTenantry, slug: string): Promise<string> {
  const answer = await service
    .operator()
    .post(`/admin/v1/tenants/${slug}/export`)
    .buffer(true)
    .parse((response, done) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.on('end', () => done(null, text));
      response.on('error', (error) => done(error, ''));
    })
    .expect(200);
  return answer.body as string;
}

export function importOf(
  { tenantry }: TestTenantry,
  text: string,
  options: Omit<ImportOptions, 'source'> = {},
): Promise<ImportReport> {
  if (tenantry.control === undefined) throw new Error('There is no control plane');
  return tenantry.control.importer.importTenant({ source: Readable.from([Buffer.from(text)]), ...options });
}

/** An export taken apart, to be put together otherwise. */
export interface Parts {
  manifest: Record<string, unknown> & {
    tenant: Record<string, unknown>;
    tables: { name: string; columns: string[] }[];
    migrations: string[];
  };
  rows: { table: string; row: Record<string, string | null> }[];
  trailer: { tables: { name: string; rows: number; sha256: string }[]; signature: string };
}

export function taken(text: string): Parts {
  const lines = text.trimEnd().split('\n');
  const [first = '', ...others] = lines;
  return {
    manifest: (JSON.parse(first) as { manifest: Parts['manifest'] }).manifest,
    rows: others.slice(0, -1).map((line) => JSON.parse(line) as Parts['rows'][number]),
    trailer: (JSON.parse(others.at(-1) ?? '') as { trailer: Parts['trailer'] }).trailer,
  };
}

/** As who has everything but the key would write it: with right counts and sums, and a signature that is not. */
export function forged({ manifest, rows, trailer }: Parts): string {
  const lines = rows.map((row) => JSON.stringify(row));
  const tables = manifest.tables.map(({ name }) => {
    const own = lines.filter((line) => line.startsWith(`{"table":"${name}",`));
    const sha256 = createHash('sha256')
      .update(own.map((line) => `${line}\n`).join(''))
      .digest('hex');
    return { name, rows: own.length, sha256 };
  });
  const all = [{ manifest }, ...rows, { trailer: { tables, signature: trailer.signature } }];
  return `${all.map((part) => JSON.stringify(part)).join('\n')}\n`;
}
