import { z } from 'zod';
import { keyScopes } from '../../auth/roles.ts';

const fields = {
  name: z.string().trim().min(1).max(200),
  scopes: z
    .array(z.enum(keyScopes))
    .min(1)
    .max(keyScopes.length)
    .refine((scopes) => new Set(scopes).size === scopes.length, 'A scope stands there twice.'),
  expiresAt: z.iso.datetime({ offset: true }).nullable(),
};

/** `expiresAt` is 90 days from now when it is left out, and never for null. */
export const createApiKeySchema = z.strictObject({ ...fields, expiresAt: fields.expiresAt.optional() });
export type CreateApiKey = z.output<typeof createApiKeySchema>;

/** What a key may do stays as it was given out: a new need is a new key. */
export const patchApiKeySchema = z.strictObject({ name: fields.name });
export type PatchApiKey = z.output<typeof patchApiKeySchema>;

export interface ApiKeyView {
  id: string;
  name: string;
  scopes: string[];
  /** Who made it, and with whom it ends; null for one that the platform made. */
  userId: string | null;
  expiresAt: string | null;
  /** Told within a minute or so. */
  lastUsedAt: string | null;
  version: number;
  createdAt: string;
  updatedAt: string;
}

export interface NewApiKeyView extends ApiKeyView {
  /** Shown this once. */
  key: string;
}

export const apiKeyList = { sortable: ['createdAt', 'name'], filterable: { name: fields.name } } as const;
