import { z } from 'zod';
import { roles, type UserRole } from '../../auth/roles.ts';

const fields = {
  email: z.email().max(254).toLowerCase(),
  password: z.string().min(12).max(1000),
  name: z.string().trim().min(1).max(200).nullable(),
  role: z.enum(roles),
};

export const createUserSchema = z.strictObject({
  ...fields,
  name: fields.name.default(null),
  role: fields.role.default('member'),
});
export type CreateUser = z.output<typeof createUserSchema>;

export const patchUserSchema = z
  .strictObject(fields)
  .partial()
  .refine((changes) => Object.keys(changes).length > 0, 'At least one field is needed.');
export type PatchUser = z.output<typeof patchUserSchema>;

export interface UserView {
  id: string;
  email: string;
  name: string | null;
  role: UserRole;
  version: number;
  createdAt: string;
  updatedAt: string;
}

export const userList = {
  sortable: ['createdAt', 'email'],
  filterable: { email: fields.email, role: fields.role },
} as const;
