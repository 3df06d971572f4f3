import { z } from 'zod';

const fields = {
  sku: z.string().trim().min(1).max(100),
  name: z.string().trim().min(1).max(200),
  description: z.string().max(10_000).nullable(),
  /** Integer minor units, up to ten thousand million. */
  priceCents: z.int().min(0).max(1_000_000_000_000),
  /** ISO 4217 */
  currency: z.string().regex(/^[A-Z]{3}$/, 'Three capital letters (ISO 4217) are needed.'),
  stock: z.int().min(0).max(1_000_000_000),
};

export const createProductSchema = z.strictObject({
  ...fields,
  description: fields.description.default(null),
  currency: fields.currency.default('USD'),
});
export type CreateProduct = z.output<typeof createProductSchema>;

export const patchProductSchema = z
  .strictObject(fields)
  .partial()
  .refine((changes) => Object.keys(changes).length > 0, 'At least one field is needed.');
export type PatchProduct = z.output<typeof patchProductSchema>;

export interface ProductView extends CreateProduct {
  id: string;
  version: number;
  createdAt: string;
  updatedAt: string;
}

export const productList = {
  sortable: ['createdAt', 'name', 'sku', 'priceCents'],
  filterable: { sku: fields.sku, name: fields.name, currency: fields.currency },
} as const;
