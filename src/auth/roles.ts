/** Who may do what in a tenant: one table, role × action, and what a key was given of it. */
export const roles = ['owner', 'admin', 'member', 'viewer'] as const;
export type UserRole = (typeof roles)[number];

/** How an operator of the platform stands in a tenant that it acts for; no user has it. */
export const operatorRole = 'operator';

export const actions = [
  'read',
  'write',
  'read-deleted',
  'manage-users',
  'manage-admins',
  'manage-owners',
  'manage-keys',
  'read-audit',
] as const;
export type Action = (typeof actions)[number];

const allowed: ReadonlyMap<string, readonly Action[]> = new Map<string, readonly Action[]>([
  ['owner', actions],
  ['admin', ['read', 'write', 'read-deleted', 'manage-users', 'manage-admins', 'manage-keys', 'read-audit']],
  ['member', ['read', 'write']],
  ['viewer', ['read']],
  // No credentials: what an operator does must end with its quarter of an hour.
  [operatorRole, ['read', 'write', 'read-deleted', 'read-audit']],
]);

/** False for a role that is not in the table. */
export function may(role: string | undefined, action: Action): boolean {
  return allowed.get(role ?? '')?.includes(action) ?? false;
}

/** Where a key can be let in, and what an action on it needs to stand in the key's scopes. */
export const keyResources = ['products', 'orders', 'users', 'audit-events'] as const;
export type KeyResource = (typeof keyResources)[number];

/**
 * What a key can be given. `read` and `write` are of the daily business, such as products and orders; people and the audit must
 * be named. A key never handles keys, admins or owners: what it does must end with it.
 */
export const keyScopes = [
  ...['read', 'write'],
  ...['products:read', 'products:write', 'orders:read', 'orders:write'],
  ...['users:read', 'users:write', 'audit-events:read'],
] as const;
export type KeyScope = (typeof keyScopes)[number];

const kinds: Partial<Record<Action, 'read' | 'write'>> = {
  read: 'read',
  'read-audit': 'read',
  'read-deleted': 'read',
  write: 'write',
  'manage-users': 'write',
};
/** What a key's bare `read` and `write` do not open. */
const apart: ReadonlySet<string> = new Set(['users', 'audit-events', 'api-keys']);

interface Bounded {
  readonly role?: string | undefined;
  readonly scopes?: readonly string[];
}

/** Whether an actor may do this with a resource: its role must allow it and, for a key, one of its scopes as well. */
export function permits({ role, scopes }: Bounded, action: Action, resource: string): boolean {
  if (!may(role, action)) return false;
  if (scopes === undefined) return true;
  const kind = kinds[action];
  if (kind === undefined) return false;
  return scopes.includes(`${resource}:${kind}`) || (!apart.has(resource) && scopes.includes(kind));
}
