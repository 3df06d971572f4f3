import type { Operations } from '../../http/openapi/operation.ts';
import { exampleOf, resourceOperations, shownOf } from '../../http/openapi/resource-operations.ts';
import { order } from './schema.ts';

/** The usual ones, and its own. */
export const orderOperations = (): Operations => {
  return {
    ...resourceOperations(order),
    'POST /:id/cancel': {
      ...{ tag: 'Orders', id: 'cancelOrder', summary: 'Cancel an order' },
      description: 'Its products go back into stock.',
      headers: ['Idempotency-Key'],
      answers: [
        {
          status: 200,
          description: 'It, cancelled.',
          schema: shownOf(order),
          example: { ...exampleOf(order), status: 'cancelled', version: 2 },
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
