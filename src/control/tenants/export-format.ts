import { createHash, createHmac, type Hash, type KeyObject, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { AppError } from '../../errors.ts';
import { limitsSchema } from './schema.ts';

/**
 * An export is NDJSON: a manifest, a line for each row, table by table in the order of the manifest, and a trailer:
 *
 *   {"manifest":{"format":"tenantry","version":1,"exportedAt":…,"tenant":…,"migrations":[…],"tables":[…]}}
 *   {"table":"users","row":{"id":"…","email":"…","deleted_at":null}}
 *   {"trailer":{"tables":[{"name":"users","rows":1,"sha256":"…"}],"signature":"…"}}
 *
 * `sha256` is that of a table's lines as they stand, line feeds included, so lines must not be written anew. The
 * signature is over the manifest and all sums: HMAC-SHA256, with a key that only the installation has.
 */
export const formatVersion = 1;

const manifestSchema = z.strictObject({
  format: z.literal('tenantry'),
  version: z.literal(formatVersion),
  exportedAt: z.iso.datetime(),
  tenant: z.strictObject({
    id: z.uuid(),
    slug: z.string(),
    name: z.string().min(1).max(200),
    isolation: z.enum(['shared', 'schema']),
    limits: limitsSchema,
  }),
  /** Applied to the schema that the rows are of. */
  migrations: z.array(z.string()),
  /** In the order in which rows follow. */
  tables: z.array(z.strictObject({ name: z.string(), columns: z.array(z.string()).min(1) })),
});
export type Manifest = z.output<typeof manifestSchema>;

const trailerSchema = z.strictObject({
  tables: z.array(z.strictObject({ name: z.string(), rows: z.int().min(0), sha256: z.string() })),
  signature: z.string(),
});
type Trailer = z.output<typeof trailerSchema>;

/** What came of one table. */
export interface TableSum {
  name: string;
  rows: number;
  /** In hexadecimal. */
  sha256: string;
}

export function manifestLine(manifest: Manifest): Buffer {
  return Buffer.from(`${JSON.stringify({ manifest })}\n`);
}

export function trailerLine(key: KeyObject, manifest: Buffer, sums: readonly TableSum[]): Buffer {
  const trailer: Trailer = { tables: [...sums], signature: signatureOf(key, manifest, sums) };
  return Buffer.from(`${JSON.stringify({ trailer })}\n`);
}

export const trailerPrefix = Buffer.from('{"trailer":');

/** @throws AppError export_refused */
export function readManifest(line: Buffer): Manifest {
  const found = jsonOf(line, 'manifest');
  const { format, version } = (found ?? {}) as { format?: unknown; version?: unknown };
  if (format !== 'tenantry') throw refused('This is not an export of a tenant.');
  if (version !== formatVersion) {
    throw refused(`The export has format version ${String(version)}; this build reads ${formatVersion}.`);
  }
  const manifest = manifestSchema.safeParse(found);
  if (!manifest.success) throw refused('The manifest of the export is damaged.');
  return manifest.data;
}

/**
 * Holds what was read against the trailer.
 *
 * @param key undefined: the signature is not looked at
 * @throws AppError export_refused
 */
export function checkTrailer(
  line: Buffer,
  key: KeyObject | undefined,
  manifest: Buffer,
  sums: readonly TableSum[],
): void {
  const trailer = trailerSchema.safeParse(jsonOf(line, 'trailer'));
  if (!trailer.success) throw refused('The trailer of the export is damaged.');
  const { tables, signature } = trailer.data;
  if (tables.length !== sums.length) throw refused('The trailer names other tables than the manifest.');
  for (const [index, { name, rows, sha256 }] of sums.entries()) {
    const expected = tables[index];
    if (expected?.name !== name) throw refused('The trailer names other tables than the manifest.');
    if (expected.rows !== rows) {
      throw refused(`The export has ${rows} rows of ${name}, and its trailer says ${expected.rows}.`);
    }
    if (expected.sha256 !== sha256) throw refused(`The rows of ${name} are not those that were exported.`);
  }
  if (key !== undefined && !isEqual(signature, signatureOf(key, manifest, sums))) {
    throw refused(
      'The signature is not of this installation: the export was changed, or comes from another one.',
    );
  }
}

function signatureOf(key: KeyObject, manifest: Buffer, sums: readonly TableSum[]): string {
  const canonical = sums.map(({ name, rows, sha256 }) => [name, rows, sha256]);
  return createHmac('sha256', key).update(manifest).update(JSON.stringify(canonical)).digest('base64url');
}

function isEqual(one: string, other: string): boolean {
  const [left, right] = [Buffer.from(one), Buffer.from(other)];
  return left.length === right.length && timingSafeEqual(left, right);
}

function jsonOf(line: Buffer, member: string): unknown {
  try {
    return (JSON.parse(line.toString()) as Record<string, unknown> | null)?.[member];
  } catch {
    return undefined; // refused by whoever asked: it is not what was looked for
  }
}

/** Counts and sums up one table. */
export interface Tally {
  /** Whole lines. */
  add(lines: Buffer, rows: number): void;
  sum(): TableSum;
}

export function createTally(name: string): Tally {
  const hash: Hash = createHash('sha256');
  let rows = 0;
  return {
    add(lines, count) {
      hash.update(lines);
      rows += count;
    },
    sum: () => ({ name, rows, sha256: hash.copy().digest('hex') }),
  };
}

/** The words are shown to whoever asked for the import. */
export function refused(detail: string, cause?: unknown): AppError {
  return new AppError('export_refused', detail, cause === undefined ? {} : { cause });
}
