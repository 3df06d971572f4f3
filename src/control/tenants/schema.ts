import { z } from 'zod';
import { maxPasswordBytes } from '../../auth/passwords.ts';
import { isUuid, slugPattern } from '../../db/index.ts';

/** Names that mean something else in a URL, a schema or a support call. */
const reserved = new Set([
  'admin',
  'api',
  'app',
  'control',
  'public',
  'root',
  'shared',
  'system',
  'tenantry',
  'www',
  'information_schema',
]);

export const slugSchema = z
  .string()
  .regex(slugPattern, '2 to 48 lower-case letters, digits, - or _, a letter first, are needed.')
  .refine((slug) => !reserved.has(slug) && !slug.startsWith('pg_'), 'This slug is reserved.')
  .refine((slug) => !isUuid(slug), 'A slug must not look like an id.');

const positive = z.int().min(1).max(1_000_000_000);

/** What a tenant may use. Kept with the tenant; absent means no limit. */
const limitsSchema = z.strictObject({
  requestsPerMinute: positive.optional(),
  concurrentRequests: positive.optional(),
  rows: positive.optional(),
  users: positive.optional(),
  apiKeys: positive.optional(),
});

export const createTenantSchema = z.strictObject({
  slug: slugSchema,
  name: z.string().trim().min(1).max(200),
  isolation: z.enum(['shared', 'schema']),
  owner: z.strictObject({
    email: z.email().max(254).toLowerCase(),
    // bcrypt reads no more; refused here so that the fault is named with its place in this body.
    password: z
      .string()
      .min(12)
      .max(1000)
      .refine(
        (password) => Buffer.byteLength(password) <= maxPasswordBytes,
        `A password has ${maxPasswordBytes} bytes at most.`,
      ),
  }),
  limits: limitsSchema.default({}),
});
export type CreateTenant = z.output<typeof createTenantSchema>;

export interface TenantView {
  id: string;
  slug: string;
  name: string;
  isolation: 'shared' | 'schema';
  status: 'active' | 'suspended';
  limits: z.output<typeof limitsSchema>;
  /** The newest migration applied to the tenant's schema. */
  schemaVersion: string | null;
  version: number;
  createdAt: string;
  updatedAt: string;
}
