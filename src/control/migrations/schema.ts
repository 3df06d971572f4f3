import { z } from 'zod';
import { slugPattern } from '../../db/index.ts';

const slug = z.string().regex(slugPattern);

/** What starts a run: POST /admin/v1/migrations. */
export const startRunSchema = z.strictObject({
  parallel: z.int().min(1).max(100).optional(),
  /** How many of the smallest tenants go first, or which. By default those that are tagged as canaries. */
  canary: z.union([z.int().min(0).max(1000), z.array(slug).min(1).max(1000)]).optional(),
  maxFailures: z.int().min(0).max(1_000_000).optional(),
  /** These tenants alone, beside control and shared. */
  tenants: z.array(slug).min(1).max(10_000).optional(),
});

export type StartRun = z.output<typeof startRunSchema>;
