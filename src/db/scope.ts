import { AppError } from '../errors.ts';
import { constant, type Step } from './batch.ts';
import type { Consistency } from './consistency.ts';
import type { Once } from './once.ts';
import type { Position } from './position.ts';
import { type Limits, serverSettings } from './limits.ts';

/**
 * Who a unit of work is for, and the only place that tells PostgreSQL about it. The context is local to a transaction,
 * so a pooled connection carries nothing from one tenant to the next; the values are branded, so only the validating
 * constructors below can make them and they can stand as literals in the message that opens the transaction.
 */

declare const brand: unique symbol;
/** A lower-case uuid. */
export type TenantId = string & { readonly [brand]: 'TenantId' };
/** `shared`, `control`, `tenant_<slug>`, or `warm_<hex>`, which waits for its tenant; safe between double quotes. */
export type SchemaName = string & { readonly [brand]: 'SchemaName' };

export type Isolation = 'shared' | 'schema';

export interface Tenant {
  readonly id: TenantId;
  readonly slug: string;
  readonly isolation: Isolation;
  /** Where the tenant's tables are. */
  readonly schema: SchemaName;
  /** Where its rows have not always been: a server that has not come this far does not have all of them there. */
  readonly since?: Position | undefined;
  /** Absent for a tenant that may use what it likes. */
  readonly limits?: TenantLimits | undefined;
}

/** What a tenant may use; absent: as much as it likes. */
export interface TenantLimits {
  readonly requestsPerMinute?: number | undefined;
  readonly concurrentRequests?: number | undefined;
  readonly rows?: number | undefined;
  readonly users?: number | undefined;
  readonly apiKeys?: number | undefined;
}

/** `id` tells actors of one tenant apart: reads of an actor see the writes of the same (kind, id). */
export interface Actor {
  /**
   * `user` and `key` are a tenant's own, `operator` is one of the platform who acts for it. `session` has not proved yet
   * who it is, `platform` is an operator or a command outside of tenants, `system` is nobody in particular.
   */
  readonly kind: 'user' | 'key' | 'operator' | 'session' | 'platform' | 'system';
  readonly id: string;
  /** What bounds the actor: the role of a user, or of the user whose key it is. */
  readonly role?: string | undefined;
  /** What a key was given of that role; other kinds have all of it. */
  readonly scopes?: readonly string[];
}

/** Where a request came from. */
export interface Origin {
  readonly ip?: string | undefined;
  /** Shortened by whoever makes it. */
  readonly userAgent?: string | undefined;
}

/** Who works, and on which request. A TenantScope is one. */
export interface Author {
  readonly actor: Actor;
  readonly requestId?: string | undefined;
  readonly origin?: Origin | undefined;
}

/** Work that nobody has asked for: provisioning from a script, lazy notes. */
export const systemAuthor: Author = { actor: { kind: 'system', id: 'tenantry' } };

/** Made once per request or command and passed down; there is no ambient tenant. */
export interface TenantScope {
  readonly tenant: Tenant;
  readonly actor: Actor;
  readonly consistency: Consistency;
  /** Of the request it was made for; for logs and the audit. */
  readonly requestId?: string | undefined;
  /** Where it came from. May be made when it is asked for: only what is audited asks. */
  readonly origin?: Origin | undefined;
  /**
   * Aborted when nobody waits for the work any more: the statement that runs is cancelled. A write whose COMMIT may have
   * been sent runs to its end. May be made when it is asked for.
   */
  readonly signal?: AbortSignal | undefined;
  /** Its one unit of work that writes is done once: asked for again, it answers what it returned. */
  readonly once?: Once | undefined;
}

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
/** 48 characters at most: `tenant_` and the slug stay below PostgreSQL's 63 bytes for a name. */
export const slugPattern = /^(?=.{2,48}$)[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*$/;

/** @throws AppError invalid_input unless `text` is a uuid. */
export function tenantId(text: string): TenantId {
  const lower = text.toLowerCase();
  if (!uuidPattern.test(lower)) throw new AppError('invalid_input', 'A tenant id is a uuid.');
  return lower as TenantId; // the check above is what the brand stands for
}

export function isUuid(text: string): boolean {
  return uuidPattern.test(text.toLowerCase());
}

const warmPattern = /^warm_[0-9a-f]{16}$/;

/** @throws AppError invalid_input unless `text` names a schema that Tenantry owns. */
export function schemaName(text: string): SchemaName {
  const known = text === 'shared' || text === 'control' || warmPattern.test(text);
  if (!known && !(text.startsWith('tenant_') && slugPattern.test(text.slice('tenant_'.length)))) {
    throw new AppError('invalid_input', 'This is not the name of a schema of a tenant.');
  }
  return text as SchemaName; // the check above is what the brand stands for
}

/** The schema of a tenant: `shared`, or its own. */
export function schemaOf(isolation: Isolation, slug: string): SchemaName {
  return schemaName(isolation === 'shared' ? 'shared' : `tenant_${slug}`);
}

/**
 * Stands in for a tenant that does not exist: no row is its own. Work for it takes the same way as work for any other
 * tenant, so that neither an answer nor its time tells whether there is one.
 */
export const nobody: Tenant = {
  id: tenantId('00000000-0000-0000-0000-000000000000'),
  slug: 'nobody',
  isolation: 'shared',
  schema: schemaName('shared'),
};

/**
 * The statements that make an open transaction the tenant's, as text for a driver of transactions other than ours.
 * `pg_temp` is named last because PostgreSQL otherwise looks there first, where anybody may put a table.
 */
export function tenantContext(tenant: Pick<Tenant, 'id' | 'schema'>): string {
  return `set local app.tenant_id = '${tenant.id}'; set local search_path = "${tenant.schema}", pg_temp`;
}

/** Whose rows and which schema a unit of work sees. Without a tenant the policies show no row of any. */
export interface Context {
  readonly tenant: Pick<Tenant, 'id'> | undefined;
  readonly schema: SchemaName;
}

/** What the connection had been left with by the work before. */
export interface LeftBehind {
  /** Empty or null unless a session-level setting was left. */
  tenant: string | null;
  path: string;
}

const found = `current_setting('app.tenant_id', true) as tenant, current_setting('search_path') as path`;
// Flushed, not inserted: what can be seen of a synchronous commit has been flushed, and what has not been flushed no
// replica can ever prove, should the primary die now; nor half a record (docs/decisions/0009). (Of commits with synchronous_commit = off, which nothing here
// makes, a reader could lose sight until the WAL writer has come round.)
const place = `pg_is_in_recovery() as standby,
  case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end::text as lsn`;
const set = `set_config('app.tenant_id', $1, true), set_config('search_path', $2, true)`;

/**
 * The same as one statement with parameters, to be sent before the first statement of a transaction. It answers with
 * what was LeftBehind: the targets of a select are evaluated from left to right.
 *
 * @param limits for the transaction, where its connection has none
 */
export function contextStep(context: Context, mode: Mode, limits?: Limits): Step {
  const { tenant, schema } = context;
  const values = () => [tenant?.id ?? '', `"${schema}", pg_temp`];
  if (limits !== undefined) return { text: `${contextText[mode]}${settingsOf(limits)}`, values: values() };
  const steps = contextSteps[mode];
  const known = steps.get(tenant ?? context);
  if (known?.schema === schema) return known.step;
  const step = constant(`context ${mode}`, contextText[mode], values());
  steps.set(tenant ?? context, { schema, step });
  return step;
}

type Mode = 'read' | 'write';
const contextText: Readonly<Record<Mode, string>> = {
  read: `select ${found}, ${place}, ${set}, set_config('transaction_read_only', 'on', true)`,
  write: `select ${found}, ${set}`,
};
/** By tenant, for as long as somebody knows it: its requests all begin with the same bytes. */
const contextSteps = {
  read: new WeakMap<object, KnownContext>(),
  write: new WeakMap<object, KnownContext>(),
};

interface KnownContext {
  schema: SchemaName;
  step: Step;
}

function settingsOf(limits: Limits): string {
  return Object.entries(serverSettings(limits))
    .map(([name, ms]) => `, set_config('${name}', '${ms}', true)`)
    .join('');
}

/** Where a server is, asked after a read: what has been read lies before it. */
export const positionStep: Step = constant('position', `select ${place}`);

/**
 * Asked after COMMIT: the position before it would lack the commit itself. Flushed, as the commit has been by then, unless
 * the server does not wait for that: what has only been inserted belongs to others, whose commits no replica may have yet.
 */
export const afterCommitStep: Step = constant(
  'after commit',
  `select ${found}, case current_setting('synchronous_commit')
      when 'off' then pg_current_wal_insert_lsn() else pg_current_wal_flush_lsn() end::text as lsn,
    ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int as timeline`,
);

/**
 * Before the units of work of several, which are one transaction. None waits for long for what others have locked, and what
 * would be checked at the end, in the context of the last, is checked in its own. (Within DO, because PostgreSQL 15 logs a
 * warning for each SET CONSTRAINTS in an implicit transaction, though it obeys.)
 */
export const togetherSteps: readonly Step[] = [
  constant('brief locks', `select set_config('lock_timeout', '20', true)`),
  constant('constraints at once', 'do $$ begin set constraints all immediate; end $$'),
];

/** Until the transaction ends, values become text in the one way that every server reads back alike. */
export const plainTextStep: Step = {
  text: `select set_config('datestyle', 'ISO', true), set_config('intervalstyle', 'postgres', true),
    set_config('bytea_output', 'hex', true), set_config('extra_float_digits', '1', true),
    set_config('timezone', 'UTC', true)`,
};
