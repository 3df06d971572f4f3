import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock.ts';
import { type Database, isUuid, type Isolation, schemaName, tenantId } from '../db/index.ts';
import { unavailable } from '../errors.ts';
import type { DirectoryEntry } from '../http/resolve-tenant.ts';

/**
 * Finds tenants for the data plane, by slug or id. Asked on every request, so it keeps what it found for a moment:
 * that is how long a suspension takes to reach a process.
 */
export interface Directory {
  find(slugOrId: string): Promise<DirectoryEntry | undefined>;
  /** Forgets a tenant that has just been made or changed by this process. */
  forget(entry: { id: string; slug: string }): void;
}

/** Entries at most; the bound is against callers that try out names. */
const maxEntries = 10_000;
const freshMs = 1000;
/** While the control plane cannot be asked, what was known goes on counting for this long. */
const staleMs = 60_000;

interface Kept {
  entry: DirectoryEntry | undefined;
  foundAtMs: number;
}

interface Row {
  id: string;
  slug: string;
  isolation: Isolation;
  schemaName: string;
  status: 'active' | 'suspended';
}

export function createDirectory(database: Pick<Database, 'lookUp'>, clock: Clock): Directory {
  const kept = new LRUCache<string, Kept>({ max: maxEntries });
  const asking = new Map<string, Promise<DirectoryEntry | undefined>>();
  const control = schemaName('control');

  async function ask(slugOrId: string): Promise<DirectoryEntry | undefined> {
    const by = isUuid(slugOrId) ? 'id' : 'slug';
    const rows = await database.lookUp<Row>(
      control,
      `select id, slug, isolation, "schemaName", status from tenant_directory where ${by} = $1`,
      [slugOrId],
    );
    const row = rows[0];
    if (row === undefined) return undefined;
    const { slug, isolation, status } = row;
    return { tenant: { id: tenantId(row.id), slug, isolation, schema: schemaName(row.schemaName) }, status };
  }

  /** One question at a time per name, however many requests wait for it. */
  async function askOnce(slugOrId: string): Promise<DirectoryEntry | undefined> {
    const pending = asking.get(slugOrId) ?? ask(slugOrId);
    asking.set(slugOrId, pending);
    try {
      const entry = await pending;
      // Forgotten meanwhile: the answer may be older than what was changed, and is not kept.
      if (asking.get(slugOrId) === pending) kept.set(slugOrId, { entry, foundAtMs: clock.monotonicMs() });
      return entry;
    } finally {
      if (asking.get(slugOrId) === pending) asking.delete(slugOrId);
    }
  }

  return {
    async find(slugOrId) {
      const known = kept.get(slugOrId);
      const ageMs = known === undefined ? Infinity : clock.monotonicMs() - known.foundAtMs;
      if (known !== undefined && ageMs < freshMs) return known.entry;
      try {
        return await askOnce(slugOrId);
      } catch (error) {
        if (known?.entry !== undefined && ageMs < staleMs) return known.entry;
        throw unavailable('The tenant cannot be looked up at the moment.', error);
      }
    },
    forget({ id, slug }) {
      for (const name of [id, slug]) {
        kept.delete(name);
        asking.delete(name);
      }
    },
  };
}
