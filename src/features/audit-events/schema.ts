import { z } from 'zod';
import type { ResourceDocs } from '../../http/resource.ts';

const name = z.string().min(1).max(100);
const time = z.iso.datetime({ offset: true });
const values = z.record(z.string(), z.unknown()).nullable();

const view = z
  .strictObject({
    id: z.guid().toLowerCase(),
    createdAt: z.iso.datetime(),
    action: name.meta({ description: 'What happened, such as `products.update` or `auth.login`.' }),
    resource: name,
    resourceId: z.guid().nullable(),
    actor: z.strictObject({ kind: z.string(), id: z.string() }),
    ip: z.string().nullable(),
    userAgent: z.string().nullable(),
    requestId: z.string().nullable(),
    before: values.meta({ description: 'The fields that changed, as they were; secrets are left out.' }),
    after: values.meta({ description: 'As they are.' }),
  })
  .meta({ id: 'AuditEvent' });
export type AuditEventView = z.output<typeof view>;

/** `actor` is an id; `from` and `to` are times, the second one not included. */
const list = {
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
  fields: Object.keys(view.shape),
  estimable: true,
} as const;

/** Read, and nothing else. */
export const auditEvent = {
  name: 'audit-events',
  view,
  create: z.never(),
  patch: z.never(),
  list,
  docs: {
    ...{ one: 'AuditEvent', many: 'AuditEvents', tag: 'Audit', noun: 'an event' },
    about: 'Who changed what.',
    usual: ['list', 'get'],
    examples: {
      view: {
        ...{ action: 'products.update', resource: 'products' },
        resourceId: '0198f2f2-7c3a-7e55-8a57-3f5d3c1d9a10',
        actor: { kind: 'user', id: '0198f2f3-4a77-7b11-8c52-9e0d1b2a3c4d' },
        ...{ ip: '127.0.0.1', userAgent: 'curl/8.5.0', requestId: 'order-7f3a' },
        ...{ before: { stock: 5 }, after: { stock: 7 } },
      },
    },
    notes: { list: 'Who changed what, for owners and admins.' },
  } satisfies ResourceDocs,
  readAction: 'read-audit' as const,
};

/** What the filters of a list ask for. */
export type AuditQuery = Partial<Record<keyof (typeof list)['filterable'], string>>;
