import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock.ts';
import {
  type Database,
  isUuid,
  type Isolation,
  type Position,
  schemaName,
  type Tenant,
  tenantId,
  type TenantLimits,
} from '../db/index.ts';
import { unavailable } from '../errors.ts';
import type { DirectoryEntry } from '../http/resolve-tenant.ts';
import { createEpochs } from './epochs.ts';
import type { Ladder } from './migrations/ladder.ts';
import { isBehind, oldestServed, type SchemaVersion, type ServedRange, whyNot } from './served-versions.ts';
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
  /**
   * Looks anew, because a statement did not fit the tables of a tenant that was found.
   *
   * @returns whether a migration explains it, so that a repeat will meet something else: this build cannot serve the tenant
   *   any more, has steps that it lacks, or it has been migrated or moved since it was found, or is gone
   * @throws AppError unavailable
   */
  isMigrating(tenant: Tenant): Promise<boolean>;
  /** Looks now for tenants that have changed: this process has changed one, or has been told of one. */
  refresh(): Promise<void>;
  /** Finds out which versions this build serves. To be called before anything is found. */
  start(): Promise<void>;
}

export interface DirectoryParts {
  database: Pick<Database, 'lookUp'>;
  clock: Clock;
  /** That of tenants, as this build has it. */
  ladder: Pick<Ladder, 'steps'>;
  /** For tenants whose own limits do not say. */
  defaults?: TenantLimits;
}

/** Entries at most; the bound is against callers that try out names. */
const maxEntries = 10_000;
/**
 * How long it counts that there is no such tenant, that it cannot be served (of a migration no epoch tells), and what a
 * server says that is behind the epochs.
 */
const doubtfulMs = 1000;

interface Kept {
  entry: DirectoryEntry | undefined;
  /** Of the monotonic clock; Infinity until the tenant changes. */
  untilMs: number;
}

interface Row extends SchemaVersion {
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

export function createDirectory({ database, clock, ladder, defaults = {} }: DirectoryParts): Directory {
  const kept = new LRUCache<string, Kept>({ max: maxEntries });
  const asking = new Map<string, Promise<Kept>>();
  /** Of tenants that were found: the version of their schema. */
  const foundAt = new WeakMap<Tenant, string | null>();
  let range: ServedRange | undefined;
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

  function served(): ServedRange {
    if (range === undefined) throw new Error('The directory has not been started');
    return range;
  }

  async function ask(slugOrId: string): Promise<Kept> {
    const by = isUuid(slugOrId) ? 'id' : 'slug';
    let answeredAt: Position | undefined;
    const [row] = await database.lookUp<Row>(
      schemaName('control'),
      `select d.id, d.slug, d.isolation, d."schemaName", d.status, e."priorStatus", e."movedAt", l.limits,
         v.version, v.needs, (select max(epoch) from tenant_epochs) as "asOf"
       from tenant_directory d join tenant_epochs e using (id) join tenant_versions v using (id)
         left join tenant_limits l using (id)
       where d.${by} = $1`,
      [slugOrId],
      (position) => {
        answeredAt = position;
      },
    );
    // It knows of a change that we do not: what is kept under other names may be older than this.
    if (row !== undefined && row.asOf > epochs.current()) await epochs.refresh();
    const entry = row === undefined ? undefined : entryOf(row, served(), defaults, answeredAt);
    if (row !== undefined && entry !== undefined) foundAt.set(entry.tenant, row.version);
    const doubtful = row === undefined || row.asOf < epochs.current() || entry?.status === 'migrating';
    return { entry, untilMs: doubtful ? clock.monotonicMs() + doubtfulMs : Infinity };
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
      return (await orUnavailable(askOnce(slugOrId))).entry;
    },
    async isMigrating(tenant) {
      for (const name of [tenant.id, tenant.slug]) {
        kept.delete(name);
        asking.delete(name); // what is under way may have been asked before the migration
      }
      const { entry } = await orUnavailable(askOnce(tenant.id));
      if (entry === undefined || entry.status === 'migrating') return true;
      if (entry.tenant.schema !== tenant.schema) return true;
      const [then, version = null] = [foundAt.get(tenant), foundAt.get(entry.tenant)];
      return isBehind({ version }, served()) || (then !== undefined && then !== version);
    },
    refresh: () => epochs.refresh(),
    async start() {
      const newest = (await ladder.steps()).at(-1);
      if (newest === undefined) throw new Error('There are no migrations for tenants');
      range = { oldest: oldestServed, newest };
    },
  };
}

async function orUnavailable<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw unavailable('The tenant cannot be looked up at the moment.', error);
  }
}

function entryOf(
  row: Row,
  range: ServedRange,
  defaults: TenantLimits,
  answeredAt?: Position,
): DirectoryEntry | undefined {
  const access = accessOf(row);
  if (access === 'gone') return undefined;
  const { id, slug, isolation } = row;
  const limits = { ...defaults, ...row.limits };
  // A server that has not replayed the move lacks what was written just before it.
  const since = row.movedAt === null ? undefined : answeredAt;
  const tenant = { id: tenantId(id), slug, isolation, schema: schemaName(row.schemaName), since, limits };
  const why = whyNot(row, range);
  if (why !== undefined) return { tenant, status: 'migrating', why };
  return { tenant, status: access === 'served' ? 'active' : 'suspended' };
}
