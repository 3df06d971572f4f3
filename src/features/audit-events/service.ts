import { type Condition, countIn, type Database, type PageRequest, type Selection } from '../../db/index.ts';
import type { ReadingService } from '../../http/resource-routes.ts';
import { type AuditEventRow, auditEvents } from './repository.ts';
import type { AuditEventView, AuditQuery } from './schema.ts';

/** Events can be read, and nothing else. */
export type AuditEventService = ReadingService<AuditEventView>;

export function createAuditEventService(db: Database): AuditEventService {
  return {
    async list(scope, { limit, sort, after, before, where }) {
      const page: PageRequest<AuditEventRow> = {
        ...{ limit, after, before },
        sort: { ...sort, field: sort.field === 'id' ? 'id' : 'createdAt' },
        ...wanted(where as AuditQuery | undefined), // the list's schema allows no others
      };
      const { rows, ...ends } = await db.read(scope, (session) => auditEvents.page(session, page));
      return { rows: rows.map(auditEventView), ...ends };
    },
    count: (scope, asked, { estimated = false } = {}) =>
      db.read(scope, (session) => {
        const { where, filter } = wanted(asked as AuditQuery | undefined);
        return countIn(session, auditEvents, where, { filter, estimated });
      }),
    get: async (scope, id) =>
      auditEventView(await db.read(scope, (session) => auditEvents.require(session, id))),
  };
}

/** The words of the API as columns. */
function wanted({ actor, from, to, ...same }: AuditQuery = {}): Selection<AuditEventRow> {
  const filter: Condition<AuditEventRow>[] = [];
  if (from !== undefined) filter.push({ field: 'createdAt', operator: 'gte', value: from });
  if (to !== undefined) filter.push({ field: 'createdAt', operator: 'lt', value: to });
  return { where: { ...same, ...(actor === undefined ? {} : { actorId: actor }) }, filter };
}

function auditEventView(row: AuditEventRow): AuditEventView {
  const { id, createdAt, action, resource, resourceId, actorKind, actorId } = row;
  const { ip, userAgent, requestId, before, after } = row;
  const actor = { kind: actorKind, id: actorId };
  return { id, createdAt, action, resource, resourceId, actor, ip, userAgent, requestId, before, after };
}
