import { defineTable, type Stamped } from '../../db/index.ts';

export interface Order extends Stamped {
  number: number;
  status: 'placed' | 'cancelled';
  customerId: string | null;
  totalCents: number;
  currency: string;
}

export const orders = defineTable<Order>({
  name: 'orders',
  columns: {
    number: 'bigint',
    status: 'text',
    customerId: 'uuid',
    totalCents: 'bigint',
    currency: 'text',
  },
});

export interface OrderLine extends Stamped {
  orderId: string;
  productId: string;
  quantity: number;
  unitPriceCents: number;
}

export const orderLines = defineTable<OrderLine>({
  name: 'order_lines',
  columns: { orderId: 'uuid', productId: 'uuid', quantity: 'integer', unitPriceCents: 'bigint' },
});
