import { z } from 'zod';
import { maxPasswordBytes, passwordBytes } from '../../auth/passwords.ts';
import { isUuid, slugPattern } from '../../db/index.ts';
import type { TenantStatus } from './lifecycle.ts';

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
export const limitsSchema = z.strictObject({
  requestsPerMinute: positive.optional(),
  concurrentRequests: positive.optional(),
  rows: positive.optional(),
  users: positive.optional(),
  apiKeys: positive.optional(),
});

const reasonSchema = z.string().trim().min(3).max(500);

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
        (password) => passwordBytes(password) <= maxPasswordBytes,
        `A password has ${maxPasswordBytes} bytes at most.`,
      ),
  }),
  limits: limitsSchema.default({}),
});
export type CreateTenant = z.output<typeof createTenantSchema>;

/** Merged into what is there: a field that is left out stays as it is. */
export const patchTenantSchema = z
  .strictObject({
    name: createTenantSchema.shape.name.optional(),
    /** All of them anew. */
    limits: limitsSchema.optional(),
    /** While there is one the tenant cannot be purged; null ends it. */
    legalHold: z.strictObject({ reason: reasonSchema }).nullable().optional(),
    /** In a run of the fleet its schema goes first: everybody else waits to see it succeed. */
    canary: z.boolean().optional(),
  })
  .refine((changes) => Object.keys(changes).length > 0, 'At least one field is needed.');
export type PatchTenant = z.output<typeof patchTenantSchema>;

export const moveTenantSchema = z.strictObject({ isolation: z.enum(['shared', 'schema']) });
export type MoveTenant = z.output<typeof moveTenantSchema>;

export const purgeTenantSchema = z
  .strictObject({
    /** Only tells what would be deleted. */
    dryRun: z.boolean().default(false),
    /** Before the end of the retention. */
    force: z.boolean().default(false),
    reason: reasonSchema.optional(),
  })
  .refine(({ force, reason }) => !force || reason !== undefined, {
    path: ['reason'],
    message: 'force wants a reason.',
  });
export type PurgeTenant = z.output<typeof purgeTenantSchema>;

export interface TenantView {
  id: string;
  slug: string;
  name: string;
  isolation: 'shared' | 'schema';
  status: TenantStatus;
  /** Of the last change of the status. */
  statusSince: string;
  legalHold: { reason: string } | null;
  /** Where a move has left the rows as they were, until it is confirmed. */
  movedFrom: { schema: string; at: string } | null;
  limits: z.output<typeof limitsSchema>;
  /** Goes first when the fleet is migrated. */
  canary: boolean;
  /** The newest migration applied to the tenant's schema; null once it is purged. */
  schemaVersion: string | null;
  version: number;
  createdAt: string;
  updatedAt: string;
}
