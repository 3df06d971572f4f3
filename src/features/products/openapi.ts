import type { Operations } from '../../http/openapi/operation.ts';
import { resourceOperations } from '../../http/openapi/resource-operations.ts';
import { product } from './schema.ts';

const create = { sku: 'TPS-1', name: 'Cover sheet', priceCents: 990, stock: 5 };
const view = {
  id: '0198f2f2-7c3a-7e55-8a57-3f5d3c1d9a10',
  ...{ ...create, description: null, currency: 'USD', version: 1 },
  ...{ createdAt: '2026-01-31T12:00:00.000Z', updatedAt: '2026-01-31T12:00:00.000Z' },
};

export const productOperations = (): Operations =>
  resourceOperations(product, {
    ...{ one: 'Product', many: 'Products', tag: 'Products', noun: 'a product' },
    usual: ['list', 'create', 'get', 'patch', 'remove', 'restore'],
    examples: { view, create, patch: { stock: 7 } },
    problems: { create: ['sku_taken'], patch: ['sku_taken'], restore: ['sku_taken'] },
  });
