import { z } from 'zod';

export interface AuditEventView {
  id: string;
  createdAt: string;
  /** What happened, such as `products.update` or `auth.login`. */
  action: string;
  resource: string;
  resourceId: string | null;
  actor: { kind: string; id: string };
  ip: string | null;
  userAgent: string | null;
  requestId: string | null;
  /** The fields that changed, as they were and as they are; secrets are left out. */
  before: object | null;
  after: object | null;
}

const name = z.string().min(1).max(100);
const time = z.iso.datetime({ offset: true });

/** `actor` is an id; `from` and `to` are times, the second one not included. */
export const auditEventList = {
  sortable: ['createdAt'],
  filterable: {
    action: name,
    actor: name,
    actorKind: name,
    resource: name,
    resourceId: z.guid().toLowerCase(),
    from: time,
    to: time,
  },
} as const;

/** What the filters of a list ask for. */
export type AuditQuery = Partial<Record<keyof (typeof auditEventList)['filterable'], string>>;
