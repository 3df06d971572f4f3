import { z } from 'zod';
import { roles } from '../../auth/roles.ts';
import { listRules, patchOf, stamps } from '../../http/resource.ts';

const fields = {
  email: z.email().max(254).toLowerCase().meta({ description: 'One user of the tenant has it.' }),
  name: z.string().trim().min(1).max(200).nullable(),
  role: z.enum(roles).meta({ description: 'What the user may do.' }),
};

const password = z
  .string()
  .min(12)
  .max(1000)
  .meta({ description: 'At most 72 bytes in UTF-8; never shown.', writeOnly: true });
const view = z.strictObject({ id: z.guid().toLowerCase(), ...fields, ...stamps }).meta({ id: 'User' });

export const user = {
  name: 'users',
  view,
  create: z.strictObject({
    ...fields,
    password,
    name: fields.name.default(null),
    role: fields.role.default('member'),
  }),
  patch: patchOf(z.strictObject({ ...fields, password })),
  list: listRules(view, {
    sortable: ['createdAt', 'email'],
    filterable: ['email', 'name', 'role', 'createdAt', 'updatedAt'],
  }),
  writeAction: 'manage-users' as const,
};

export type UserView = z.output<typeof view>;
export type CreateUser = z.output<typeof user.create>;
export type PatchUser = z.output<typeof user.patch>;
