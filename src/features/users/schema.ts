import { z } from 'zod';
import { roles } from '../../auth/roles.ts';
import { listRules, patchOf, stamps, type ResourceDocs } from '../../http/resource.ts';

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
  docs: {
    ...{ one: 'User', many: 'Users', tag: 'Users', noun: 'a user' },
    about: 'Who may log in to the tenant, and as what.',
    examples: {
      create: { email: 'peter@acme.test', name: 'Peter', password: 'correct horse battery' },
      patch: { role: 'admin' },
      view: { role: 'member' },
    },
    problems: {
      create: ['email_taken'],
      patch: ['email_taken', 'last_owner'],
      remove: ['last_owner'],
      restore: ['email_taken'],
    },
    notes: {
      create: 'For admins and owners; only owners make owners.',
      patch: 'Another password or role ends the access tokens of the user.',
      remove: 'Their sessions and keys end.',
    },
  } satisfies ResourceDocs,
  writeAction: 'manage-users' as const,
};

export type UserView = z.output<typeof view>;
export type CreateUser = z.output<typeof user.create>;
export type PatchUser = z.output<typeof user.patch>;
