import type { Operations } from '../../http/openapi/operation.ts';
import { resourceOperations } from '../../http/openapi/resource-operations.ts';
import { user } from './schema.ts';

const view = {
  id: '0198f2f3-4a77-7b11-8c52-9e0d1b2a3c4d',
  ...{ email: 'peter@acme.test', name: 'Peter', role: 'member', version: 1 },
  ...{ createdAt: '2026-01-31T12:00:00.000Z', updatedAt: '2026-01-31T12:00:00.000Z' },
};
const create = { email: 'peter@acme.test', name: 'Peter', password: 'correct horse battery' };

export const userOperations = (): Operations =>
  resourceOperations(user, {
    ...{ one: 'User', many: 'Users', tag: 'Users', noun: 'a user' },
    usual: ['list', 'create', 'get', 'patch', 'remove', 'restore'],
    examples: { view, create, patch: { role: 'admin' } },
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
  });
