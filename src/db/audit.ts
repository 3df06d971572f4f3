import { type Actor, type Author, nobody, type Tenant } from './scope.ts';
import { tenantOf, type WriteSession } from './session.ts';

/**
 * The audit: what was changed, by whom and from where, written in the transaction of the change. The kernel
 * (table.ts) adds the event to every statement that changes a row, so that no service can forget it, and a change of one
 * statement stays one round trip. `recordEvent` is for what is no change of a row, such as a login.
 */

export interface AuditEvent {
  /** What happened, such as `auth.login`. */
  action: string;
  /** The kind of thing it happened to, by its table: `users`. */
  resource: string;
  resourceId: string | null;
  before?: object | undefined;
  /** Never a secret or its hash. */
  after?: object | undefined;
}

/** A change that is to be audited, as the parts of one statement. */
export interface AuditedChange {
  action: string;
  resource: string;
  /** Common table expressions before the change, each with its comma at the end. */
  leading?: string;
  /** Returns `tenant_id`, `id` and what `before`, `after` and `result` name. */
  change: string;
  /** Expressions over the rows of `changed`; null where there is nothing to tell. */
  before: string;
  after: string;
  /** What the statement as a whole selects from `changed`. */
  result: string;
}

const authorFields = ['actor_kind', 'actor_id', 'operator_id', 'ip', 'user_agent', 'request_id'];
const authorTypes = ['text', 'text', 'uuid', 'text', 'text', 'text'];

/**
 * The change and its event as one statement. An event needs no look-up: its author travels as parameters, after those of
 * the change, of which there are `places`.
 *
 * @param toldPlatform whether the platform's own audit has the event as well: see `isOperator`
 */
export function auditedText(
  { action, resource, leading = '', change, before, after, result }: AuditedChange,
  places: number,
  toldPlatform: boolean,
): string {
  const author = authorTypes.map((type, index) => `$${places + index + 1}::${type}`).join(', ');
  const what = `'${action}', '${resource}', changed.id, ${author}`;
  const columns = `action, resource, resource_id, ${authorFields.join(', ')}`;
  const platform = toldPlatform
    ? `, known_to_platform as (
         insert into control.audit_events (tenant, ${columns}) select changed.tenant_id, ${what} from changed)`
    : '';
  return `with ${leading}changed as (${change}),
       event as (
         insert into audit_events (tenant_id, ${columns}, before, after)
         select changed.tenant_id, ${what}, ${before}, ${after} from changed)${platform}
       select ${result} from changed`;
}

/** A change of many rows, as the parts of one statement with `?` for values, of which the first is the tenant. */
export interface AuditedBulk {
  action: string;
  resource: string;
  leading?: string;
  change: string;
  /** Selects `before` and `after` of each event: see eventsOf(). */
  events: string;
  /** Selected at the end. */
  result: string;
}

/** An event names no more rows than this, so that a page of events stays an answer that can be sent. */
export const rowsPerEvent = 1000;

/**
 * The events of rows: their number and ids, and more.
 *
 * @param rows what has them, with their `id`
 * @param before an aggregate over some of them; null where there is nothing to tell
 * @param after an expression of jsonb that is added
 */
export function eventsOf(rows: string, before = 'null::jsonb', after = `'{}'::jsonb`): string {
  return `select ${before} as before,
      jsonb_build_object('count', count(*), 'ids', to_jsonb(array_agg(id))) || ${after} as after
    from (select *, (row_number() over () - 1) / ${rowsPerEvent} as event from ${rows}) as numbered
    group by event`;
}

/** The change and its events. The author's parameters come last. */
export function auditedBulkText(
  { action, resource, leading = '', change, events, result }: AuditedBulk,
  toldPlatform: boolean,
): string {
  const author = authorFields.map((field, index) => `?::${authorTypes[index]} as ${field}`).join(', ');
  const columns = `action, resource, ${authorFields.join(', ')}`;
  const what = `'${action}', '${resource}', author.*`;
  const platform = toldPlatform
    ? `, known_to_platform as (
         insert into control.audit_events (tenant, ${columns}) select $1::uuid, ${what} from events, author)`
    : '';
  return `with ${leading}changed as (${change}),
       events as (${events}),
       author as (select ${author}),
       told as (
         insert into audit_events (tenant_id, ${columns}, before, after)
         select $1::uuid, ${what}, events.before, events.after from events, author)${platform}
       ${result}`;
}

/**
 * Writes an event of its own. Without a tenant (`nobody`, for whom a login was tried) only the platform hears of it.
 *
 * @param actor who did it, where it is another than the one the session is of
 */
export async function recordEvent(
  session: WriteSession,
  { action, resource, resourceId, before, after }: AuditEvent,
  actor: Actor = session.author.actor,
): Promise<void> {
  const { requestId, origin } = session.author;
  const columns = `action, resource, resource_id, ${authorFields.join(', ')}, before, after`;
  const types = ['uuid', 'text', 'text', 'uuid', ...authorTypes, 'jsonb', 'jsonb'];
  const values = types.map((type, index) => `$${index + 1}::${type}`).join(', ');
  const inTenant = `insert into audit_events (tenant_id, ${columns}) values (${values})`;
  const inPlatform = `insert into control.audit_events (tenant, ${columns}) values (${values})`;
  const both = `with known_to_platform as (${inPlatform}) ${inTenant}`;
  const text = isNobody(session.tenant) ? inPlatform : actor.kind === 'operator' ? both : inTenant;
  await session.query(
    text,
    [
      ...[tenantOf(session), action, resource, resourceId],
      ...authorValues({ actor, requestId, origin }),
      ...[before ?? null, after ?? null],
    ],
    {},
    'audit_events.record',
  );
}

/** What an operator does in a tenant is the platform's business, too. */
export function isOperator({ author }: WriteSession): boolean {
  return author.actor.kind === 'operator';
}

function isNobody(tenant: Tenant | undefined): boolean {
  return tenant?.id === nobody.id;
}

/** The parameters that name the author of an event. */
export function authorValues({ actor, requestId, origin }: Author): unknown[] {
  const operatorId = actor.kind === 'operator' ? actor.id : null;
  return [actor.kind, actor.id, operatorId, origin?.ip ?? null, origin?.userAgent ?? null, requestId ?? null];
}
