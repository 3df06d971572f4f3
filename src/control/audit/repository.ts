import type { Author, Direction, Page, PageRequest, ReadSession, WriteSession } from '../../db/index.ts';
import type { PlatformEvent, PlatformEventView, PlatformQuery } from './schema.ts';

const columns = {
  action: 'action',
  actor: 'actor_id',
  actorKind: 'actor_kind',
  tenant: 'tenant',
  resource: 'resource',
  resourceId: 'resource_id',
} as const;

/** Within the unit of work of the change. Secrets stay out of `before` and `after`. */
export async function recordPlatformEvent(
  session: WriteSession,
  { actor, requestId, origin }: Author,
  { action, resource, resourceId, tenantId, before, after }: PlatformEvent,
): Promise<void> {
  await session.query(
    `insert into control.audit_events
       (tenant, action, resource, resource_id, actor_kind, actor_id, ip, user_agent, request_id, before, after)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
    [
      ...[tenantId ?? null, action, resource, resourceId ?? null, actor.kind, actor.id],
      ...[origin?.ip ?? null, origin?.userAgent ?? null, requestId ?? null, before ?? null, after ?? null],
    ],
    {},
    'platform_audit_events.record',
  );
}

/** By time; the newest first unless it is asked otherwise. */
export async function pageOfEvents(
  session: ReadSession,
  { limit, sort, after }: Pick<PageRequest<unknown>, 'limit' | 'after'> & { sort: { direction: Direction } },
  query: PlatformQuery,
): Promise<Page<PlatformEventView>> {
  const { direction } = sort;
  const { text, values } = conditionsOf(query, after, direction === 'asc' ? '>' : '<');
  const rows = await session.query<PlatformEventView>(
    `select id, tenant, action, resource, resource_id as "resourceId",
       jsonb_build_object('kind', actor_kind, 'id', actor_id) as actor,
       ip, user_agent as "userAgent", request_id as "requestId", before, after, created_at as "createdAt"
     from control.audit_events where ${text}
     order by created_at ${direction}, id ${direction} limit ${limit + 1}`,
    values,
    {},
    'platform_audit_events.page',
  );
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const more = rows.length > limit && last !== undefined;
  return { rows: shown, next: more ? { value: last.createdAt, id: last.id } : undefined };
}

export async function countEvents(session: ReadSession, query: PlatformQuery): Promise<number> {
  const { text, values } = conditionsOf(query);
  const rows = await session.query<{ n: number }>(
    `select count(*) as n from control.audit_events where ${text}`,
    values,
  );
  return rows[0]?.n ?? 0;
}

function conditionsOf(
  { from, to, ...equal }: PlatformQuery,
  after?: { value: string | number; id: string },
  beyond: '<' | '>' = '<',
): { text: string; values: unknown[] } {
  const values: unknown[] = [];
  const place = (value: unknown) => `$${values.push(value)}`;
  const conditions = Object.entries(equal).map(
    ([field, value]) => `${columns[field as keyof typeof columns]} = ${place(value)}`,
  );
  if (from !== undefined) conditions.push(`created_at >= ${place(from)}`);
  if (to !== undefined) conditions.push(`created_at < ${place(to)}`);
  if (after !== undefined) {
    conditions.push(
      `(created_at, id) ${beyond} (${place(after.value)}::timestamptz, ${place(after.id)}::uuid)`,
    );
  }
  return { text: conditions.join(' and ') || 'true', values };
}
