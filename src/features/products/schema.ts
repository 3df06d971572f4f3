import { z } from 'zod';
import { defineResource } from '../../http/resource.ts';

export const product = defineResource({
  name: 'products',
  fields: {
    sku: z
      .string()
      .trim()
      .min(1)
      .max(100)
      .meta({ description: 'Its number in your stock-keeping; one product has it.' }),
    name: z.string().trim().min(1).max(200),
    description: z.string().max(10_000).nullable(),
    priceCents: z.int().min(0).max(1_000_000_000_000).meta({ description: 'Integer minor units.' }),
    currency: z
      .string()
      .regex(/^[A-Z]{3}$/, 'Three capital letters (ISO 4217) are needed.')
      .meta({ description: 'ISO 4217.' }),
    stock: z.int().min(0).max(1_000_000_000),
  },
  defaults: { description: null, currency: 'USD' },
  sortable: ['createdAt', 'name', 'sku', 'priceCents'],
  filterable: ['sku', 'name', 'description', 'priceCents', 'currency', 'stock', 'createdAt', 'updatedAt'],
  docs: {
    ...{ one: 'Product', many: 'Products', tag: 'Products', noun: 'a product' },
    about: 'What is sold, and how many there are.',
    bulk: true,
    examples: {
      create: { sku: 'TPS-1', name: 'Cover sheet', priceCents: 990, stock: 5 },
      patch: { stock: 7 },
    },
    problems: { create: ['sku_taken'], patch: ['sku_taken'], restore: ['sku_taken'] },
  },
});

export type ProductView = z.output<typeof product.view>;
export type CreateProduct = z.output<typeof product.create>;
export type PatchProduct = z.output<typeof product.patch>;
