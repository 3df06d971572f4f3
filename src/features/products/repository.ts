import { defineTable } from '../../db/index.ts';
import type { ProductView } from './schema.ts';

export const products = defineTable<ProductView>({
  name: 'products',
  columns: {
    sku: 'text',
    name: 'text',
    description: 'text',
    priceCents: 'bigint',
    currency: 'text',
    stock: 'integer',
  },
  constraints: {
    products_sku_key: {
      code: 'sku_taken',
      detail: 'Another product has this SKU.',
      pointer: '/sku',
    },
  },
});
