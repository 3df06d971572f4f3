import { defineTable, type Stamped } from '../../db/index.ts';

export interface AuditEventRow extends Stamped {
  action: string;
  resource: string;
  resourceId: string | null;
  actorKind: string;
  actorId: string;
  operatorId: string | null;
  ip: string | null;
  userAgent: string | null;
  requestId: string | null;
  before: Record<string, unknown> | null;
  after: Record<string, unknown> | null;
}

/** Read here, and written by the kernel with what it changes. */
export const auditEvents = defineTable<AuditEventRow>({
  name: 'audit_events',
  columns: {
    action: 'text',
    resource: 'text',
    resourceId: 'uuid',
    actorKind: 'text',
    actorId: 'text',
    operatorId: 'uuid',
    ip: 'text',
    userAgent: 'text',
    requestId: 'text',
    before: 'jsonb',
    after: 'jsonb',
  },
  audit: 'none',
});
