import { defineTable } from '../../db/index.ts';
import type { UserView } from './schema.ts';

export interface User extends UserView {
  passwordHash: string;
}

export const users = defineTable<User>({
  name: 'users',
  columns: { email: 'text', name: 'text', role: 'text', passwordHash: 'text' },
  constraints: {
    users_email_key: {
      code: 'email_taken',
      detail: 'Another user has this e-mail address.',
      pointer: '/email',
    },
  },
});
