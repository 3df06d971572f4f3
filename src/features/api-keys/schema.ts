import { z } from 'zod';
import { keyScopes } from '../../auth/roles.ts';
import { listRules, stamps, type ResourceDocs } from '../../http/resource.ts';

const fields = {
  name: z.string().trim().min(1).max(200),
  scopes: z
    .array(z.enum(keyScopes))
    .min(1)
    .max(keyScopes.length)
    .refine((scopes) => new Set(scopes).size === scopes.length, 'A scope stands there twice.')
    .meta({ description: 'What the key may do.', uniqueItems: true }),
  expiresAt: z.iso.datetime({ offset: true }).nullable(),
};

const view = z
  .strictObject({
    id: z.guid().toLowerCase(),
    ...fields,
    userId: z
      .guid()
      .nullable()
      .meta({ description: 'Who made it, and with whom it ends; null for one that the platform made.' }),
    lastUsedAt: z.iso.datetime().nullable().meta({ description: 'Told within a minute or so.' }),
    ...stamps,
  })
  .meta({ id: 'ApiKey' });
export type ApiKeyView = z.output<typeof view>;

export const apiKey = {
  name: 'api-keys',
  view,
  created: z.strictObject({ ...view.shape, key: z.string().meta({ description: 'Shown this once.' }) }),
  create: z.strictObject({
    ...fields,
    expiresAt: fields.expiresAt
      .optional()
      .meta({ description: '90 days from now when it is left out; null: never.' }),
  }),
  /** What a key may do stays as it was given out: a new need is a new key. */
  patch: z.strictObject({ name: fields.name }),
  list: listRules(view, {
    sortable: ['createdAt', 'name'],
    filterable: ['name', 'userId', 'expiresAt', 'lastUsedAt', 'createdAt', 'updatedAt'],
  }),
  docs: {
    ...{ one: 'ApiKey', many: 'ApiKeys', tag: 'API keys', noun: 'an API key' },
    about: 'Credentials for programs.',
    usual: ['list', 'create', 'get', 'patch', 'remove'],
    examples: {
      create: { name: 'nightly import', scopes: ['products:write'] },
      patch: { name: 'hourly import' },
      view: {
        ...{ expiresAt: '2026-05-01T12:00:00.000Z', lastUsedAt: null },
        userId: '0198f2f3-4a77-7b11-8c52-9e0d1b2a3c4d',
      },
      created: { key: 'tnt_<tenant>_<key>_<secret>' },
    },
    notes: {
      create: 'The key itself is shown in this answer and never again.',
      remove: 'It is refused within a second.',
    },
  } satisfies ResourceDocs,
  readAction: 'manage-keys' as const,
  writeAction: 'manage-keys' as const,
};

export type CreateApiKey = z.output<typeof apiKey.create>;
export type PatchApiKey = z.output<typeof apiKey.patch>;
export type NewApiKeyView = z.output<typeof apiKey.created>;
