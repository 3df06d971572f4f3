/** What a user of a tenant may do: one table, role × action. */
export const roles = ['owner', 'admin', 'member', 'viewer'] as const;
export type UserRole = (typeof roles)[number];

export type Action = 'read' | 'write' | 'manage-users' | 'manage-owners';

const allowed: ReadonlyMap<string, readonly Action[]> = new Map<UserRole, readonly Action[]>([
  ['owner', ['read', 'write', 'manage-users', 'manage-owners']],
  ['admin', ['read', 'write', 'manage-users']],
  ['member', ['read', 'write']],
  ['viewer', ['read']],
]);

/** False for a role that is not in the table. */
export function may(role: string | undefined, action: Action): boolean {
  return allowed.get(role ?? '')?.includes(action) ?? false;
}
