import { z } from 'zod';
import { listRules, stamps, type ResourceDocs } from '../../http/resource.ts';

const cents = z.int().min(0).meta({ description: 'Integer minor units.' });

const lineSchema = z.strictObject({
  productId: z.guid().toLowerCase(),
  quantity: z.int().min(1).max(1_000_000),
});

const createOrderSchema = z.strictObject({
  customerId: z.guid().toLowerCase().nullable().default(null),
  lines: z
    .array(lineSchema)
    .min(1)
    .max(100)
    .superRefine((lines, context) => {
      const seen = new Set<string>();
      lines.forEach(({ productId }, index) => {
        if (seen.has(productId)) {
          const message = 'The product stands in another line already.';
          context.addIssue({ code: 'custom', path: [index, 'productId'], message });
        }
        seen.add(productId);
      });
    })
    .meta({ description: 'Of one product each, all in one currency.' }),
});
export type CreateOrder = z.output<typeof createOrderSchema>;

const patchOrderSchema = z.strictObject({
  customerId: z.guid().toLowerCase().nullable(),
});
export type PatchOrder = z.output<typeof patchOrderSchema>;

const lineView = z.strictObject({ ...lineSchema.shape, unitPriceCents: cents });
export type OrderLineView = z.output<typeof lineView>;

const view = z
  .strictObject({
    id: z.guid().toLowerCase(),
    number: z.int().min(1).meta({ description: '1, 2, 3, … within the tenant.' }),
    status: z.enum(['placed', 'cancelled']),
    customerId: z.guid().toLowerCase().nullable(),
    totalCents: cents,
    currency: z.string(),
    lines: z.array(lineView).optional().meta({ description: 'In a list only with `include=lines`.' }),
    version: stamps.version,
    placedAt: stamps.createdAt,
    updatedAt: stamps.updatedAt,
  })
  .meta({ id: 'Order' });
export type OrderView = z.output<typeof view>;

/** Of examples. */
const productId = '0198f2f2-7c3a-7e55-8a57-3f5d3c1d9a10';
const stock = ['insufficient_stock', 'not_found'] as const;

export const order = {
  name: 'orders',
  view,
  create: createOrderSchema,
  patch: patchOrderSchema,
  list: listRules(view, {
    sortable: ['placedAt', 'number', 'totalCents'],
    filterable: ['number', 'status', 'customerId', 'totalCents', 'currency', 'placedAt', 'updatedAt'],
    includable: ['lines'],
  }),
  docs: {
    ...{ one: 'Order', many: 'Orders', tag: 'Orders', noun: 'an order' },
    about: 'What has been sold.',
    examples: {
      create: { lines: [{ productId, quantity: 3 }] },
      patch: { customerId: null },
      view: {
        ...{ number: 1, status: 'placed', customerId: null, totalCents: 2970, currency: 'USD' },
        lines: [{ productId, quantity: 3, unitPriceCents: 990 }],
        placedAt: '2026-01-31T12:05:00.000Z',
      },
    },
    problems: { create: stock, restore: stock },
    notes: {
      create: 'One unit of work over orders and stock: where there is too little of it, nothing changes.',
    },
  } satisfies ResourceDocs,
  writeAction: 'write' as const,
};
