import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock.ts';
import {
  type Database,
  isUuid,
  type Isolation,
  type Position,
  schemaName,
  tenantId,
  type TenantLimits,
} from '../db/index.ts';
import { unavailable } from '../errors.ts';
import type { DirectoryEntry } from '../http/resolve-tenant.ts';
import { createEpochs } from './epochs.ts';
import { accessOf, type TenantStatus } from './tenants/lifecycle.ts';

/**
 * Finds tenants for the data plane, by slug or id. What it has found it keeps until the tenant changes, which it learns
 * from the epochs: see epochs.ts.
 */
export interface Directory {
  /**
   * What it answers was true at most a second ago; while the primary is lost, when it was last heard of.
   *
   * @returns undefined for a tenant that is unknown, deleted or purged
   * @throws AppError unavailable when it cannot be known any more whether tenants have changed
   */
  find(slugOrId: string): Promise<DirectoryEntry | undefined>;
  /** Looks now for tenants that have changed: this process has changed one, or has been told of one. */
  refresh(): Promise<void>;
}

/** Entries at most; the bound is against callers that try out names. */
const maxEntries = 10_000;
/** How long it counts that there is no such tenant, and what a server says that is behind the epochs. */
const doubtfulMs = 1000;

interface Kept {
  entry: DirectoryEntry | undefined;
  /** Of the monotonic clock; Infinity until the tenant changes. */
  untilMs: number;
}

interface Row {
  id: string;
  slug: string;
  isolation: Isolation;
  schemaName: string;
  status: TenantStatus;
  priorStatus: TenantStatus | null;
  limits: TenantLimits | null;
  /** When it came to its place, until nothing of it is left at another one. */
  movedAt: string | null;
  /** Of the newest change that the server which answered knows. */
  asOf: number;
}

/** @param defaults for tenants whose own limits do not say */
export function createDirectory(
  database: Pick<Database, 'lookUp'>,
  clock: Clock,
  defaults: TenantLimits = {},
): Directory {
  const kept = new LRUCache<string, Kept>({ max: maxEntries });
  const asking = new Map<string, Promise<Kept>>();
  const epochs = createEpochs({ database, clock, changed: forget });

  function forget(tenants: readonly { id: string; slug: string }[] | 'all'): void {
    // The answers to questions that are under way may be older than the change: they are given, and not kept.
    asking.clear();
    if (tenants === 'all') {
      kept.clear();
      return;
    }
    const ids = new Set(tenants.map(({ id }) => id));
    // By what was found, too: a tenant that is purged gives its slug back.
    for (const [name, { entry }] of kept.entries()) {
      if (entry !== undefined && ids.has(entry.tenant.id)) kept.delete(name);
    }
    for (const { id, slug } of tenants) {
      kept.delete(id);
      kept.delete(slug);
    }
  }

  async function ask(slugOrId: string): Promise<Kept> {
    const by = isUuid(slugOrId) ? 'id' : 'slug';
    let answeredAt: Position | undefined;
    const [row] = await database.lookUp<Row>(
      schemaName('control'),
      `select d.id, d.slug, d.isolation, d."schemaName", d.status, e."priorStatus", e."movedAt", l.limits,
         (select max(epoch) from tenant_epochs) as "asOf"
       from tenant_directory d join tenant_epochs e using (id) left join tenant_limits l using (id)
       where d.${by} = $1`,
      [slugOrId],
      (position) => {
        answeredAt = position;
      },
    );
    // It knows of a change that we do not: what is kept under other names may be older than this.
    if (row !== undefined && row.asOf > epochs.current()) await epochs.refresh();
    const doubtful = row === undefined || row.asOf < epochs.current();
    return {
      entry: row === undefined ? undefined : entryOf(row, defaults, answeredAt),
      untilMs: doubtful ? clock.monotonicMs() + doubtfulMs : Infinity,
    };
  }

  /** One question at a time per name, however many requests wait for it. */
  async function askOnce(slugOrId: string): Promise<Kept> {
    const pending = asking.get(slugOrId) ?? ask(slugOrId);
    asking.set(slugOrId, pending);
    try {
      const answer = await pending;
      if (asking.get(slugOrId) === pending) kept.set(slugOrId, answer);
      return answer;
    } finally {
      if (asking.get(slugOrId) === pending) asking.delete(slugOrId);
    }
  }

  return {
    async find(slugOrId) {
      if (!epochs.known()) await epochs.learn();
      const known = kept.get(slugOrId);
      if (known !== undefined && clock.monotonicMs() < known.untilMs) return known.entry;
      try {
        return (await askOnce(slugOrId)).entry;
      } catch (error) {
        throw unavailable('The tenant cannot be looked up at the moment.', error);
      }
    },
    refresh: () => epochs.refresh(),
  };
}

function entryOf(row: Row, defaults: TenantLimits, answeredAt?: Position): DirectoryEntry | undefined {
  const access = accessOf(row);
  if (access === 'gone') return undefined;
  const { id, slug, isolation } = row;
  const limits = { ...defaults, ...row.limits };
  // A server that has not replayed the move lacks what was written just before it.
  const since = row.movedAt === null ? undefined : answeredAt;
  return {
    tenant: { id: tenantId(id), slug, isolation, schema: schemaName(row.schemaName), since, limits },
    status: access === 'served' ? 'active' : 'suspended',
  };
}
