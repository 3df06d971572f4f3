import { z } from 'zod';

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
  readAction: 'read-audit' as const,
};

/** What the filters of a list ask for. */
export type AuditQuery = Partial<Record<keyof (typeof list)['filterable'], string>>;
