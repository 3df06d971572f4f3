import { afterEach, beforeAll, expect } from '@jest/globals';
import type { TestDatabase } from './database.ts';

/** `butEvents`: what was refused may stand in the audit, such as a login that failed. */
interface Besides {
  butEvents?: boolean;
}

/** Table → how many rows it has and a digest of them, over all schemas that Tenantry owns; no policy hides any. */
async function fingerprint(
  database: TestDatabase,
  { butEvents = false }: Besides,
): Promise<Record<string, string>> {
  // query_to_xml() runs a statement for each table within this one.
  const rows = await database.superuser<{ name: string; digest: string }>(`
    select format('%I.%I', schemaname, tablename) as name,
      query_to_xml(format(
        'select count(*) as rows, md5(string_agg(t::text, chr(10) order by t::text)) as digest from %I.%I t',
        schemaname, tablename), false, true, '')::text as digest
    from pg_tables
    where (schemaname in ('control', 'shared') or schemaname like 'tenant\\_%' or schemaname like 'warm\\_%')
      ${butEvents ? `and tablename <> 'audit_events'` : ''} order by 1`);
  return Object.fromEntries(rows.map(({ name, digest }) => [name, digest]));
}

/**
 * To be called in a describe block, after its other beforeAll(): a test of it that leaves any table other than it found
 * it fails.
 */
export function forbidChanges(database: TestDatabase, besides: Besides = {}): void {
  let last: Record<string, string> = {};
  beforeAll(async () => {
    last = await fingerprint(database, besides);
  });
  afterEach(async () => {
    const before = last;
    last = await fingerprint(database, besides);
    expect(last).toEqual(before);
  });
}

/** Runs `fn` and asserts that it left every table as it was, and no new one. */
export async function unchanged<T>(
  database: TestDatabase,
  fn: () => Promise<T>,
  besides: Besides = {},
): Promise<T> {
  const before = await fingerprint(database, besides);
  const value = await fn();
  expect(await fingerprint(database, besides)).toEqual(before);
  return value;
}
