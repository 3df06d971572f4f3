import type { Operations } from '../../http/openapi/operation.ts';
import { resourceOperations } from '../../http/openapi/resource-operations.ts';
import { auditEvent } from './schema.ts';

const view = {
  id: '0198f2f6-2b4c-7d8e-9f0a-1b2c3d4e5f60',
  createdAt: '2026-01-31T12:00:00.000Z',
  ...{ action: 'products.update', resource: 'products', resourceId: '0198f2f2-7c3a-7e55-8a57-3f5d3c1d9a10' },
  actor: { kind: 'user', id: '0198f2f3-4a77-7b11-8c52-9e0d1b2a3c4d' },
  ...{ ip: '127.0.0.1', userAgent: 'curl/8.5.0', requestId: 'order-7f3a' },
  ...{ before: { stock: 5 }, after: { stock: 7 } },
};

export const auditEventOperations = (): Operations =>
  resourceOperations(auditEvent, {
    ...{ one: 'AuditEvent', many: 'AuditEvents', tag: 'Audit', noun: 'an event' },
    usual: ['list', 'get'],
    examples: { view },
    notes: { list: 'Who changed what, for owners and admins.' },
  });
