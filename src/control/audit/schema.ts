import { z } from 'zod';

/** Something that happened to the platform: to an operator, a tenant as a whole, a key made for one. */
export interface PlatformEvent {
  /** Such as `tenants.create` or `operators.login`. */
  action: string;
  resource: string;
  resourceId?: string | undefined;
  tenantId?: string | undefined;
  before?: object | undefined;
  after?: object | undefined;
}

export interface PlatformEventView {
  id: string;
  createdAt: string;
  /** Undefined tenants are null; a login that named no tenant there is has the nil id. */
  tenant: string | null;
  action: string;
  resource: string;
  resourceId: string | null;
  actor: { kind: string; id: string };
  ip: string | null;
  userAgent: string | null;
  requestId: string | null;
  before: object | null;
  after: object | null;
}

const name = z.string().min(1).max(100);
const id = z.guid().toLowerCase();
const time = z.iso.datetime({ offset: true });

/** `actor` is an id; `from` and `to` are times, the second one not included. */
export const platformEventList = {
  sortable: ['createdAt'],
  filterable: {
    ...{ action: name, actor: name, actorKind: name, resource: name },
    ...{ tenant: id, resourceId: id, from: time, to: time },
  },
} as const;

/** What the filters of a list ask for. */
export type PlatformQuery = Partial<Record<keyof (typeof platformEventList)['filterable'], string>>;
