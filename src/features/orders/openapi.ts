import type { Operations } from '../../http/openapi/operation.ts';
import { resourceOperations, shownOf } from '../../http/openapi/resource-operations.ts';
import { order } from './schema.ts';

const productId = '0198f2f2-7c3a-7e55-8a57-3f5d3c1d9a10';
const view = {
  id: '0198f2f4-11c0-7f0e-9d60-5a4f0c6b7e21',
  ...{ number: 1, status: 'placed', customerId: null, totalCents: 2970, currency: 'USD' },
  lines: [{ productId, quantity: 3, unitPriceCents: 990 }],
  ...{ version: 1, placedAt: '2026-01-31T12:05:00.000Z', updatedAt: '2026-01-31T12:05:00.000Z' },
};
const stock = ['insufficient_stock', 'not_found'] as const;

export const orderOperations = (): Operations => {
  const usual = resourceOperations(order, {
    ...{ one: 'Order', many: 'Orders', tag: 'Orders', noun: 'an order' },
    usual: ['list', 'create', 'get', 'patch', 'remove', 'restore'],
    examples: { view, create: { lines: [{ productId, quantity: 3 }] }, patch: { customerId: null } },
    problems: { create: stock, restore: stock },
    notes: {
      create: 'One unit of work over orders and stock: where there is too little of it, nothing changes.',
    },
  });
  return {
    ...usual,
    'POST /:id/cancel': {
      ...{ tag: 'Orders', id: 'cancelOrder', summary: 'Cancel an order' },
      description: 'Its products go back into stock.',
      headers: ['Idempotency-Key'],
      answers: [
        {
          status: 200,
          description: 'It, cancelled.',
          schema: shownOf(order),
          example: { ...view, status: 'cancelled', version: 2 },
          headers: ['Idempotency-Replayed'],
        },
      ],
      problems: [
        ...(['not_found', 'order_cancelled', 'conflict', 'unprocessable'] as const),
        ...(['tenant_moving', 'request_under_way', 'idempotency_key_reused'] as const),
      ],
    },
  };
};
