import { defineTable } from '../../db/index.ts';
import { product, type ProductView } from './schema.ts';

export const products = defineTable<ProductView>({
  name: 'products',
  columns: product.columns,
  constraints: {
    products_sku_key: {
      code: 'sku_taken',
      detail: 'Another product has this SKU.',
      pointer: '/sku',
    },
  },
});
