import { beforeAll, describe, expect, it } from '@jest/globals';
import type { Client } from 'pg';
import {
  describeLocks,
  type LockMode,
  lockLevels,
  lockModes,
  type TableLock,
} from '../../src/control/migrations/locks.ts';
import { withConnection } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { until } from '../support/until.ts';

/** What locks.ts says of a statement is what PostgreSQL holds after it. */

const database = useDatabase();
const tables = `
  create schema locks;
  set search_path = locks;
  create table users (tenant_id uuid, id uuid, email text, age int, primary key (tenant_id, id));
  create table orders (tenant_id uuid, id uuid, user_id uuid, total int, note text, primary key (tenant_id, id),
    constraint orders_total_check check (total > 0) not valid,
    constraint orders_user_id_fkey foreign key (tenant_id, user_id) references users);
  alter table orders add constraint orders_later_fkey foreign key (tenant_id, user_id) references users not valid;
  create index orders_total_idx on orders (total);
  create unique index users_email_key on users (tenant_id, email);
  create table measures (at date, value int) partition by range (at);
  create table measures_2024 (at date, value int);
  create table measures_2025 partition of measures for values from ('2025-01-01') to ('2026-01-01');
  create view ages as select id, age from users;
  create materialized view sums as select sum(age) as age from users;
  create function nothing() returns trigger language plpgsql as 'begin return new; end';
  create trigger orders_touched before update on orders for each row execute function nothing();
  create policy own on orders using (true);
  create rule orders_kept as on delete to orders where false do instead nothing;
  create type mood as enum ('good')`;

beforeAll(() => database.superuser(tables));

/** Each takes what lockLevels() says of it. */
const statements: string[] = [
  'alter table orders add column paid boolean',
  'alter table orders add column paid boolean not null default false',
  'alter table orders add column key uuid default gen_random_uuid()',
  'alter table orders add column payer_tenant uuid, add foreign key (payer_tenant, id) references users',
  'alter table orders drop column note',
  'alter table orders alter column total type bigint',
  'alter table orders alter column total set not null',
  'alter table users alter column age drop not null',
  'alter table orders alter column total set default 1',
  'alter table orders alter column total set statistics 500',
  'alter table orders alter column total set (n_distinct = 5)',
  'alter table orders alter column note set storage external',
  'alter table orders add constraint positive check (total > 0)',
  'alter table orders add constraint positive check (total > 0) not valid',
  'alter table orders add constraint payer foreign key (tenant_id, user_id) references users (tenant_id, id)',
  'alter table orders add constraint payer foreign key (tenant_id, user_id) references users not valid',
  'alter table orders add constraint one unique (tenant_id, total)',
  'alter table users add constraint one unique using index users_email_key',
  'alter table orders validate constraint orders_total_check',
  'alter table orders validate constraint orders_later_fkey',
  'alter table orders drop constraint orders_total_check',
  'alter table orders validate constraint orders_total_check, drop column note',
  'alter table orders rename column note to remark',
  'alter table orders rename constraint orders_total_check to positive',
  'alter table orders rename to purchases',
  'alter table orders set schema public',
  'alter table orders enable row level security',
  'alter table orders force row level security',
  'alter table orders disable row level security',
  'alter table orders no force row level security',
  'alter table orders owner to tenantry_owner',
  'alter table orders set (fillfactor = 80, autovacuum_enabled = false)',
  'alter table orders reset (fillfactor)',
  'alter table orders cluster on orders_total_idx',
  'alter table orders replica identity full',
  'alter table orders set unlogged',
  'alter table orders disable trigger orders_touched',
  'alter table orders enable trigger user',
  `alter table measures attach partition measures_2024 for values from ('2024-01-01') to ('2025-01-01')`,
  'alter table measures detach partition measures_2025',
  'alter index orders_total_idx rename to orders_sum_idx',
  'alter index orders_total_idx set (fillfactor = 80)',
  'alter view ages rename to all_ages',
  'create index on orders (note)',
  'create unique index orders_note_key on orders (tenant_id, note)',
  'drop index orders_total_idx',
  'reindex table users',
  'reindex index orders_total_idx',
  'create trigger orders_seen after insert on orders for each row execute function nothing()',
  `create constraint trigger orders_of_users after insert on orders from users deferrable
     for each row execute function nothing()`,
  'drop trigger orders_touched on orders',
  'alter trigger orders_touched on orders rename to orders_changed',
  'create policy another on orders using (true)',
  'alter policy own on orders using (false)',
  'alter policy own on orders rename to mine',
  'drop policy own on orders',
  'create rule orders_fixed as on update to orders where false do instead nothing',
  'drop rule orders_kept on orders',
  'create statistics orders_of_both on total, note from orders',
  `comment on table orders is 'x'`,
  `comment on column orders.note is 'x'`,
  `comment on constraint orders_total_check on orders is 'x'`,
  `comment on policy own on orders is 'x'`,
  'grant select on orders to tenantry_app',
  'revoke all on orders from tenantry_app',
  'create table invoices (id int)',
  'create table invoices (like orders including all)',
  'create table invoices (tenant_id uuid, user_id uuid, foreign key (tenant_id, user_id) references users)',
  `create table measures_2026 partition of measures for values from ('2026-01-01') to ('2027-01-01')`,
  'create table invoices () inherits (orders)',
  'create table invoices as select * from orders',
  'create view notes as select note from orders join users using (tenant_id)',
  'create or replace view ages as select id, age from users',
  'drop view ages',
  'create materialized view notes as select note from orders',
  'refresh materialized view sums',
  'drop materialized view sums',
  `create function more() returns int language sql return 1`,
  `alter type mood add value 'bad'`,
  'create sequence numbers',
  'select count(*) from orders',
  'select 1 from orders for update',
  'with few as (select * from orders) select * from few',
  'insert into users (tenant_id, id) values (gen_random_uuid(), gen_random_uuid())',
  'insert into users (tenant_id, id) select tenant_id, id from orders where false',
  'update orders set note = null where id in (select id from users)',
  'delete from users',
  'merge into users using orders on false when not matched then do nothing',
  'truncate measures_2024',
  'lock table users in share mode',
  'lock table users, measures_2024',
];

/** What the text does not tell: these lock the table that is referred to as well. */
const furtherThanTheText: string[] = [
  'drop table orders',
  'alter table orders drop constraint orders_user_id_fkey',
];

describe('what is said of a statement is what PostgreSQL holds after it', () => {
  it.each(statements)('%s', async (sql) => {
    const said = await saidOf(sql);
    const held = await heldAfter(sql);
    expect(Object.fromEntries(said.map(({ table, mode }) => [table, mode]))).toEqual(
      Object.fromEntries(said.map(({ table }) => [table, held.get(table)])),
    );
    const unsaid = [...held].filter(
      ([table]) => !table.endsWith('_idx') && !said.some((lock) => lock.table === table),
    );
    // Of the look at rows that a foreign key refers to, say: it blocks nobody.
    expect(unsaid.filter(([, mode]) => lockModes.indexOf(mode) > lockModes.indexOf('ROW SHARE'))).toEqual([]);
  });

  it.each(furtherThanTheText)('%s, and more', async (sql) => {
    expect(await saidOf(sql)).toEqual([{ table: 'orders', mode: 'ACCESS EXCLUSIVE' }]);
    const held = await heldAfter(sql);
    expect([held.get('orders'), held.get('users')]).toEqual(['ACCESS EXCLUSIVE', 'ACCESS EXCLUSIVE']);
  });
});

describe('concurrently', () => {
  it.each([
    'create index concurrently orders_note_idx on orders (note)',
    'reindex table concurrently orders',
    'reindex index concurrently orders_total_idx',
    'drop index concurrently orders_total_idx',
  ])('%s', async (sql) => {
    const said = await saidOf(sql);
    expect(said).toEqual([{ table: 'orders', mode: 'SHARE UPDATE EXCLUSIVE' }]);
    await withConnection(database.superuserUrl(), async (writer) => {
      // It waits for whoever has written before, and holds its lock meanwhile.
      await writer.query('begin; set local search_path = locks; update orders set note = null');
      await withConnection(database.superuserUrl(), async (builder) => {
        await builder.query('set search_path = locks');
        const pid = await pidOf(builder);
        const built = builder.query(sql).catch((error: Error) => error.message);
        let held = new Map<string, LockMode>();
        await until(async () => {
          held = await heldBy(writer, pid);
          return held.has('orders');
        }, 'the lock');
        expect(held.get('orders')).toBe('SHARE UPDATE EXCLUSIVE');
        await writer.query('select pg_cancel_backend($1)', [pid]);
        await built;
      });
      await writer.query('rollback');
    });
  });
});

describe('what a script has made itself', () => {
  const script = [
    'create table invoices (tenant_id uuid, id uuid, user_id uuid, note text, primary key (tenant_id, id))',
    'create index invoices_note_idx on invoices (note)',
    'alter table invoices add column paid boolean',
    'alter table invoices enable row level security',
    'alter table invoices rename to bills',
    'alter table bills alter column note set not null',
    'drop index invoices_note_idx',
    'drop table bills',
  ];

  it('is locked for nobody', async () => {
    const levels = await lockLevels({ statements: script.map((sql) => ({ sql, bindings: [] })) });
    expect(levels.map(({ mode }) => mode)).toEqual(script.map(() => 'none'));
    await withConnection(database.superuserUrl(), async (client) => {
      await client.query('begin; set local search_path = locks');
      const before = new Set((await heldBy(client, await pidOf(client))).keys());
      for (const sql of script) await client.query(sql);
      const held = await heldBy(client, await pidOf(client));
      expect([...held.keys()].filter((table) => !before.has(table))).toEqual([]);
      await client.query('rollback');
    });
  });

  it('is told apart from what it refers to', async () => {
    const sql = 'alter table bills add foreign key (tenant_id, user_id) references users';
    const levels = await lockLevels({
      statements: [{ sql: `create table bills (tenant_id uuid, user_id uuid); ${sql}`, bindings: [] }],
    });
    expect(levels.map(describeLocks)).toEqual([
      'no lock on a table that is in use',
      'SHARE ROW EXCLUSIVE on users: blocks writes',
    ]);
  });
});

it('is told in a line, with what waits and why for long', async () => {
  const of = async (sql: string) => {
    const [level] = await lockLevels({ statements: [{ sql, bindings: [] }] });
    return level && describeLocks(level);
  };
  expect(await of('alter table users add column x int')).toBe(
    'ACCESS EXCLUSIVE on users: blocks reads and writes',
  );
  expect(await of('create index on users (age)')).toBe(
    'SHARE on users: blocks writes, while it reads all rows',
  );
  expect(await of('create index concurrently i on users (age)')).toBe(
    'SHARE UPDATE EXCLUSIVE on users: blocks changes of the table, while it reads all rows',
  );
  expect(await of('alter table users alter column age type bigint')).toBe(
    'ACCESS EXCLUSIVE on users: blocks reads and writes, while it reads all rows, and writes them anew',
  );
  expect(await of('do $$ begin end $$')).toBe('locks that cannot be known before');
  expect(await of('alter tabel users')).toBe('locks that cannot be known before');
});

/** By the table, with indexes put to theirs. */
async function saidOf(sql: string): Promise<TableLock[]> {
  const [level] = await lockLevels({ statements: [{ sql, bindings: [] }] });
  return (level?.tables ?? []).map(({ table, mode }) => ({
    table: table.startsWith('table of ') ? 'orders' : table,
    mode,
  }));
}

async function heldAfter(sql: string): Promise<Map<string, LockMode>> {
  return withConnection(database.superuserUrl(), async (client) => {
    await client.query('begin; set local search_path = locks');
    const names = await relations(client);
    await client.query(sql);
    const held = await heldBy(client, await pidOf(client), names);
    await client.query('rollback');
    return held;
  });
}

async function pidOf(client: Client): Promise<number> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  return rows[0]?.pid ?? 0;
}

/** Before a statement renames or drops them. */
async function relations(client: Client): Promise<Map<number, string>> {
  const { rows } = await client.query<{ oid: number; relname: string }>(
    `select oid, relname from pg_class where relnamespace = 'locks'::regnamespace`,
  );
  return new Map(rows.map(({ oid, relname }) => [oid, relname]));
}

/** The strongest lock on each relation; of indexes only those that a statement may name. */
async function heldBy(
  client: Client,
  pid: number,
  known?: Map<number, string>,
): Promise<Map<string, LockMode>> {
  const names = known ?? (await relations(client));
  const { rows } = await client.query<{ relation: number; mode: string; kind: string }>(
    `select l.relation, l.mode, coalesce(c.relkind::text, 'r') as kind from pg_locks l
     left join pg_class c on c.oid = l.relation
     where l.pid = $1 and l.locktype = 'relation' and l.granted`,
    [pid],
  );
  const held = new Map<string, LockMode>();
  for (const { relation, mode, kind } of rows) {
    const name = names.get(relation);
    if (name === undefined || (kind === 'i' && name !== 'orders_total_idx')) continue;
    const lock = modeOf(mode);
    const before = held.get(name);
    if (before === undefined || lockModes.indexOf(lock) > lockModes.indexOf(before)) held.set(name, lock);
  }
  return held;
}

/** `ShareRowExclusiveLock` is SHARE ROW EXCLUSIVE. */
function modeOf(mode: string): LockMode {
  const found = lockModes.find((name) => `${name.replaceAll(' ', '')}LOCK` === mode.toUpperCase());
  if (found === undefined) throw new Error(`An unknown mode: ${mode}`);
  return found;
}
