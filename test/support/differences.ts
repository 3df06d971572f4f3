import { readdirSync } from 'node:fs';
import { policyText } from '../../src/control/isolation-rules.ts';

/** Step of the tenant ladder, whatever has been added. */
const newest = readdirSync(new URL('../../migrations/tenant', import.meta.url))
  .map((file) => file.replace(/\.ts$/, ''))
  .toSorted()
  .at(-1);

/** What a hand can do to the schema of the tenant acme, and what drift says of it. */
export interface Difference {
  /** As a superuser. */
  done: string;
  /** All of it, without `tenant_acme: `. */
  said: string[];
}

const table = 'tenant_acme.products';

/** Repair mends them, and nothing is left of them. */
export const mended: Readonly<Record<string, Difference>> = {
  'an index is gone': {
    done: 'drop index tenant_acme.products_name_idx',
    said: ['the index products_name_idx is missing'],
  },
  'a unique index is gone': {
    done: 'drop index tenant_acme.products_sku_key',
    said: ['the index products_sku_key is missing'],
  },
  'the build of an index was cut short': {
    done: `update pg_index set indisvalid = false where indexrelid = 'tenant_acme.products_sku_key'::regclass`,
    said: ['the index products_sku_key is invalid: its build has not come to its end'],
  },
  'the index of a constraint is invalid': {
    done: `update pg_index set indisvalid = false where indexrelid = 'tenant_acme.products_pkey'::regclass`,
    said: ['the constraint products_pkey of products is invalid: its build has not come to its end'],
  },
  'row level security is off': {
    done: `alter table ${table} disable row level security`,
    said: ['row level security of products is disabled, but forced there, enabled and forced is expected'],
  },
  'row level security does not bind the owner': {
    done: `alter table ${table} no force row level security`,
    said: ['row level security of products is enabled there, enabled and forced is expected'],
  },
  'a policy is gone': {
    done: `drop policy tenant_isolation on ${table}`,
    said: ['the policy tenant_isolation of products is missing'],
  },
  'a policy lets everybody in': {
    done: `drop policy tenant_isolation on ${table}; create policy tenant_isolation on ${table} for select using (true)`,
    said: [
      `the policy tenant_isolation of products is as permissive for select to public using (true) there, as permissive for all to public using (${policyText}) with check (${policyText}) is expected`,
    ],
  },
  'a right of the application is gone': {
    done: `revoke update on ${table} from tenantry_app`,
    said: ['tenantry_app lacks UPDATE on products'],
  },
  'all rights of the application are gone': {
    done: `revoke all on ${table} from tenantry_app`,
    said: ['tenantry_app lacks INSERT, SELECT, UPDATE on products'],
  },
  'the application may delete, and hand rights on': {
    done: `grant delete on ${table} to tenantry_app; grant select on ${table} to tenantry_app with grant option`,
    said: [
      'tenantry_app lacks SELECT on products; tenantry_app has DELETE, SELECT with grant option on products, which no migration grants',
    ],
  },
  'the application may change a column of what is only added to': {
    done: 'grant update (action) on tenant_acme.audit_events to tenantry_app',
    said: ['tenantry_app has UPDATE on audit_events.action, which no migration grants'],
  },
  'the application may not see the schema, but make tables in it': {
    done: 'revoke usage on schema tenant_acme from tenantry_app; grant create on schema tenant_acme to tenantry_app',
    said: [
      'tenantry_app lacks USAGE on the schema; tenantry_app has CREATE on the schema, which no migration grants',
    ],
  },
  'a check is gone': {
    done: `alter table ${table} drop constraint products_stock_check`,
    said: ['the constraint products_stock_check of products is missing'],
  },
  'a reference is gone': {
    done: 'alter table tenant_acme.orders drop constraint orders_customer_id_fkey',
    said: ['the constraint orders_customer_id_fkey of orders is missing'],
  },
  'a reference was added and not validated': {
    done: `alter table tenant_acme.orders drop constraint orders_customer_id_fkey;
      alter table tenant_acme.orders add constraint orders_customer_id_fkey
        foreign key (tenant_id, customer_id) references tenant_acme.users (tenant_id, id) not valid`,
    said: ['the constraint orders_customer_id_fkey of orders is not validated: rows may break it'],
  },
  'a primary key is gone, with the references to it': {
    done: 'alter table tenant_acme.orders drop constraint orders_pkey cascade',
    said: [
      'the constraint orders_pkey of orders is missing',
      'the constraint order_lines_order_id_fkey of order_lines is missing',
    ],
  },
  'a default is gone': {
    done: `alter table ${table} alter column version drop default`,
    said: ['column products.version has no default there, 1 is expected'],
  },
  'a default is another': {
    done: `alter table ${table} alter column version set default 7`,
    said: ['column products.version has the default 7 there, 1 is expected'],
  },
  'a column has a default that it should not have': {
    done: `alter table ${table} alter column currency set default 'USD'`,
    said: [`column products.currency has the default 'USD'::text there, none is expected`],
  },
  "knex's own ledger lacks a step": {
    done: `delete from tenant_acme.knex_migrations where name like '0001%'`,
    said: [`knex's own ledger lacks 0001_users_products_orders`],
  },
  "knex's own ledger is gone": {
    done: 'drop table tenant_acme.knex_migrations, tenant_acme.knex_migrations_lock',
    said: [`knex's own ledger is missing`],
  },
  'processes are told of another version': {
    done: `update control.schema_versions set version = '0001_users_products_orders' where schema_name = 'tenant_acme'`,
    said: [`processes are told 0001_users_products_orders of its version, ${newest} is expected`],
  },
  'processes are told nothing of the version': {
    done: `delete from control.schema_versions where schema_name = 'tenant_acme'`,
    said: [`processes are told nothing of its version, ${newest} is expected`],
  },
};

/** Repair leaves them to people, with a suggestion that mends them. */
export const leftToPeople: Readonly<Record<string, Difference>> = {
  'a column is there': {
    done: `alter table ${table} add column note text not null default ''`,
    said: ['column products.note is there, and no migration makes it'],
  },
  'a column is gone': {
    done: `alter table ${table} drop column description`,
    said: ['column products.description is missing'],
  },
  'a column has another type': {
    done: `alter table ${table} alter column price_cents type integer`,
    said: ['column products.price_cents is integer there, bigint is expected'],
  },
  'a column may be null': {
    done: `alter table ${table} alter column name drop not null`,
    said: ['column products.name may be null there, and must not be'],
  },
  'a column may not be null': {
    done: `alter table tenant_acme.api_keys alter column expires_at set not null`,
    said: ['column api_keys.expires_at cannot be null there, and may be'],
  },
  'a table is there': {
    done: 'create table tenant_acme.notes (id integer primary key, stock integer default 1)',
    said: ['the table notes is there, and no migration makes it'],
  },
  'a table is gone': {
    done: 'drop table tenant_acme.counters',
    said: ['the table counters is missing'],
  },
  'an index is there': {
    done: `create index by_hand on ${table} (stock)`,
    said: ['the index by_hand is there, and no migration makes it'],
  },
  'an index is another': {
    done: `drop index tenant_acme.products_name_idx; create index products_name_idx on ${table} (name)`,
    said: [
      'the index products_name_idx is CREATE INDEX products_name_idx ON products USING btree (name) there, CREATE INDEX products_name_idx ON products USING btree (tenant_id, name, id) WHERE (deleted_at IS NULL) is expected',
    ],
  },
  'a constraint is there': {
    done: `alter table ${table} add constraint by_hand check (stock < 1000)`,
    said: ['the constraint by_hand of products is there, and no migration makes it'],
  },
  'a constraint is another': {
    done: `alter table ${table} drop constraint products_stock_check, add constraint products_stock_check check (stock > -5)`,
    said: [
      "the constraint products_stock_check of products is CHECK ((stock > '-5'::integer)) there, CHECK ((stock >= 0)) is expected",
    ],
  },
  'a policy is there, beside the other': {
    done: `create policy by_hand on ${table} for select to public using (true)`,
    said: ['the policy by_hand of products is there, and no migration makes it'],
  },
  'everybody may read': {
    done: `grant select on ${table} to public`,
    said: ['public has SELECT on products, which no migration grants'],
  },
  'a table belongs to another': {
    done: `alter table ${table} owner to postgres`,
    said: ['products belongs to postgres there, tenantry_owner is expected'],
  },
  'the schema belongs to another': {
    done: 'alter schema tenant_acme owner to postgres',
    said: [
      `tenantry_owner may not read knex's own ledger`,
      'the schema belongs to postgres there, tenantry_owner is expected',
    ],
  },
  'a view is there': {
    done: `create view tenant_acme.stock as select sku from ${table}`,
    said: ['the view stock is there, and no migration makes it'],
  },
  'a sequence is there': {
    done: 'create sequence tenant_acme.numbers',
    said: ['the sequence numbers is there, and no migration makes it'],
  },
  'a function is there, and a trigger': {
    done: `create function tenant_acme.quiet() returns trigger language plpgsql as 'begin return new; end';
      create trigger quiet before update on ${table} for each row execute function tenant_acme.quiet()`,
    said: [
      'the trigger quiet of products is there, and no migration makes it',
      'the function quiet() is there, and no migration makes it',
    ],
  },
  'a type is there': {
    done: `create type tenant_acme.mood as enum ('well', 'unwell')`,
    said: ['the type mood is there, and no migration makes it'],
  },
};
