import { z } from 'zod';

const lineSchema = z.strictObject({
  productId: z.guid().toLowerCase(),
  quantity: z.int().min(1).max(1_000_000),
});

export const createOrderSchema = z.strictObject({
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
    }),
});
export type CreateOrder = z.output<typeof createOrderSchema>;

export const patchOrderSchema = z.strictObject({
  customerId: z.guid().toLowerCase().nullable(),
});
export type PatchOrder = z.output<typeof patchOrderSchema>;

export interface OrderLineView {
  productId: string;
  quantity: number;
  unitPriceCents: number;
}

export interface OrderView {
  id: string;
  /** 1, 2, 3, … within the tenant. */
  number: number;
  status: 'placed' | 'cancelled';
  customerId: string | null;
  totalCents: number;
  currency: string;
  /** In a list only with `include=lines`. */
  lines?: OrderLineView[];
  version: number;
  placedAt: string;
  updatedAt: string;
}

export const orderList = {
  sortable: ['placedAt', 'number', 'totalCents'],
  filterable: {
    status: z.enum(['placed', 'cancelled']),
    customerId: z.guid().toLowerCase(),
  },
  includable: ['lines'],
} as const;
