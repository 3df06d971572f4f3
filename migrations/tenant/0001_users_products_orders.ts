import type { Knex } from 'knex';
import { tenantTable } from '../tenant-table.ts';

export async function up(knex: Knex): Promise<void> {
  await tenantTable(knex, {
    name: 'users',
    columns: (table) => {
      table.text('email').notNullable();
      table.text('name');
      table.text('role').notNullable();
      table.text('password_hash').notNullable();
      table.check(`role in ('owner', 'admin', 'member', 'viewer')`, [], 'users_role_check');
      table.check('email = lower(email)', [], 'users_email_check');
    },
    unique: [['email']],
  });
  await tenantTable(knex, {
    name: 'refresh_tokens',
    columns: (table) => {
      table.uuid('user_id').notNullable();
      table.uuid('family_id').notNullable();
      table.text('token_hash').notNullable();
      table.timestamp('expires_at').notNullable();
      table.timestamp('used_at');
    },
    unique: [['token_hash']],
    references: { user_id: 'users' },
    indexes: { family_id: ['family_id'], user_id: ['user_id'] },
  });
  await tenantTable(knex, {
    name: 'products',
    columns: (table) => {
      table.text('sku').notNullable();
      table.text('name').notNullable();
      table.text('description');
      table.bigInteger('price_cents').notNullable();
      table.text('currency').notNullable();
      table.integer('stock').notNullable();
      table.check('price_cents >= 0', [], 'products_price_cents_check');
      table.check('stock >= 0', [], 'products_stock_check');
    },
    unique: [['sku']],
    indexes: { name: ['name', 'id'], price_cents: ['price_cents', 'id'] },
  });
  await tenantTable(knex, {
    name: 'orders',
    columns: (table) => {
      table.bigInteger('number').notNullable();
      table.text('status').notNullable();
      table.uuid('customer_id');
      table.bigInteger('total_cents').notNullable();
      table.text('currency').notNullable();
      table.check(`status in ('placed', 'cancelled')`, [], 'orders_status_check');
    },
    unique: [['number']],
    references: { customer_id: 'users' },
    indexes: { customer_id: ['customer_id', 'created_at desc', 'id desc'], status: ['status', 'id'] },
  });
  await tenantTable(knex, {
    name: 'order_lines',
    columns: (table) => {
      table.uuid('order_id').notNullable();
      table.uuid('product_id').notNullable();
      table.integer('quantity').notNullable();
      table.bigInteger('unit_price_cents').notNullable();
      table.check('quantity > 0', [], 'order_lines_quantity_check');
    },
    unique: [['order_id', 'product_id']],
    references: { order_id: 'orders', product_id: 'products' },
    indexes: { product_id: ['product_id'] },
  });
  await tenantTable(knex, {
    name: 'counters',
    columns: (table) => {
      table.text('name').notNullable();
      table.bigInteger('value').notNullable();
    },
    unique: [['name']],
  });
}

export async function down(knex: Knex): Promise<void> {
  const tables = ['counters', 'order_lines', 'orders', 'products', 'refresh_tokens', 'users'];
  for (const table of tables) await knex.schema.dropTable(table);
}
