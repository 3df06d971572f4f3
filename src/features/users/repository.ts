import { defineTable } from '../../db/index.ts';
import type { UserView } from './schema.ts';

export interface User extends UserView {
  passwordHash: string;
  /** One more with every change that ends the access tokens made before; see Revocations. */
  credentialsVersion: number;
}

export const users = defineTable<User>({
  name: 'users',
  columns: {
    email: 'text',
    name: 'text',
    role: 'text',
    passwordHash: 'text',
    credentialsVersion: 'integer',
  },
  secret: ['passwordHash'],
  constraints: {
    users_email_key: {
      code: 'email_taken',
      detail: 'Another user has this e-mail address.',
      pointer: '/email',
    },
  },
});
