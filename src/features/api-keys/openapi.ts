import type { Operations } from '../../http/openapi/operation.ts';
import { resourceOperations } from '../../http/openapi/resource-operations.ts';
import { apiKey } from './schema.ts';

const create = { name: 'nightly import', scopes: ['products:write'] };
const view = {
  id: '0198f2f5-0d3e-7a6c-b1f4-2c7e9a8d5b60',
  ...{ ...create, expiresAt: '2026-05-01T12:00:00.000Z', lastUsedAt: null, version: 1 },
  userId: '0198f2f3-4a77-7b11-8c52-9e0d1b2a3c4d',
  ...{ createdAt: '2026-01-31T12:00:00.000Z', updatedAt: '2026-01-31T12:00:00.000Z' },
};

/** What has been revoked stays so: there is no restoring. */
export const apiKeyOperations = (): Operations =>
  resourceOperations(apiKey, {
    ...{ one: 'ApiKey', many: 'ApiKeys', tag: 'API keys', noun: 'an API key' },
    usual: ['list', 'create', 'get', 'patch', 'remove'],
    examples: { view, create, patch: { name: 'hourly import' } },
    created: apiKey.created,
    createdExample: { ...view, key: 'tnt_<tenant>_<key>_<secret>' },
    notes: {
      create: 'The key itself is shown in this answer and never again.',
      remove: 'It is refused within a second.',
    },
  });
