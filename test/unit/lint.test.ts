import { describe, expect, it } from '@jest/globals';
import type { Knex } from 'knex';
import { tenantTable } from '../../migrations/tenant-table.ts';
import { createLadder, type MigrationFile } from '../../src/control/migrations/ladder.ts';
import { lintLadder, type LintOptions, objections, ruleNames } from '../../src/control/migrations/lint.ts';
import { squawkRules } from '../../src/control/migrations/lint/squawk-rules.ts';
import { scriptOf } from '../../src/control/migrations/script.ts';

type File = Partial<MigrationFile>;
const outside: File = { config: { transaction: false } };

/** What lint finds in a step of this SQL, or that does this. */
async function lint(up: string | MigrationFile['up'], file: File = {}, options: LintOptions = {}) {
  const run = typeof up === 'string' ? (knex: Knex) => knex.raw(up).then(() => undefined) : up;
  const script = await scriptOf('0009_step', { up: run, down: async () => undefined, ...file });
  return lintLadder([script], options);
}

const rulesOf = async (...args: Parameters<typeof lint>) =>
  objections(await lint(...args)).map(({ rule }) => rule);

const setting = `nullif(current_setting('app.tenant_id', true), '')::uuid`;
const policy = `create policy tenant_isolation on invoices using (tenant_id = ${setting}) with check (tenant_id = ${setting})`;
const columns = 'tenant_id uuid not null, id uuid not null, user_id uuid, note text';
/** A table as tenantTable() makes it, with something else in the place of a part. */
function invoices(parts: Record<string, string> = {}): string {
  const good = {
    table: `create table invoices (${columns}, primary key (tenant_id, id))`,
    enable: 'alter table invoices enable row level security',
    force: 'alter table invoices force row level security',
    policy,
    grant: 'grant select, insert, update on invoices to tenantry_app',
  };
  return Object.values({ ...good, ...parts })
    .filter((sql) => sql !== '')
    .join(';\n');
}

describe("the project's own migrations", () => {
  it.each(['control', 'tenant'] as const)(
    'of the ladder %s have nothing that is not allowed',
    async (ladder) => {
      const warnings: string[] = [];
      const scripts = await createLadder(ladder).scripts();
      const findings = await lintLadder(scripts, { ladder, warn: (line) => warnings.push(line) });
      expect({ refused: objections(findings), warnings }).toEqual({ refused: [], warnings: [] });
      // Those of tenants need no exceptions.
      if (ladder === 'tenant') expect(findings).toEqual([]);
    },
  );
});

/** Rule → what breaks it, and what does not. SQL, or SQL and what the file says beside it. */
type Case = string | [sql: string, file: File];
const cases: Record<string, { breaks: Case[]; keeps: Case[] }> = {
  syntax: {
    breaks: ['alter tabel users add x int', ["alter table users add note text default 'x", {}]],
    keeps: ['', '-- nothing'],
  },
  'tenant-table': {
    breaks: [
      'create table invoices (id int primary key)',
      'create table invoices as select 1 as one',
      'select 1 as one into invoices',
      invoices({ table: `create table invoices (${columns}, primary key (id))` }),
      invoices({ table: `create table invoices (${columns}, primary key (id, tenant_id))` }),
      invoices({ table: 'create table invoices (tenant_id text, id uuid, primary key (tenant_id, id))' }),
      invoices({ enable: '' }),
      invoices({ force: '' }),
      invoices({ policy: '' }),
      invoices({ policy: 'create policy tenant_isolation on invoices using (true)' }),
      invoices({ policy: policy.replace(/ with check .*/, '') }),
      invoices({ policy: policy.replace(/ with check .*/, ' with check (true)') }),
      invoices({ policy: policy.replace('on invoices', 'on invoices for select') }),
      invoices({ policy: policy.replace('on invoices', 'on invoices as restrictive') }),
      invoices({ policy: policy.replace('on invoices', 'on invoices to tenantry_app') }),
      invoices({ policy: `${policy}; create policy more on invoices using (true)` }),
      'alter table users disable row level security',
      'alter table users no force row level security',
      'drop policy tenant_isolation on users',
      'alter policy tenant_isolation on users using (true)',
      'alter policy tenant_isolation on users rename to other',
      'create policy more on users using (true)',
      'alter table users drop constraint users_pkey',
      'alter table users alter column tenant_id drop not null',
      'alter table users owner to tenantry_app',
      ['alter table users drop column tenant_id', { contract: true }],
      ['alter table users rename column tenant_id to owner_id', { contract: true }],
    ],
    keeps: [
      invoices(),
      `create table bills (${columns}, primary key (tenant_id, id)); alter table bills rename to invoices; ${invoices({ table: '' })}`,
      `drop policy tenant_isolation on users; ${policy.replace('invoices', 'users')}`,
      'create table invoices (id int); drop table invoices',
      'alter table users add column note text',
    ],
  },
  'tenant-key': {
    breaks: [
      'create unique index users_name_key on users (name) where deleted_at is null',
      'create unique index users_name_key on users (name, tenant_id) where deleted_at is null',
      'create unique index users_name_key on users ((tenant_id::text), name) where deleted_at is null',
      'create unique index users_name_key on users (tenant_id, name)',
      `create unique index users_name_key on users (tenant_id, name) where deleted_at is null and name <> ''`,
      'alter table users add constraint users_name_key unique (tenant_id, name)',
      'alter table users add column nick text unique',
      'alter table orders add column payer_id uuid references users (id)',
      'alter table orders add constraint f foreign key (payer_id) references users (id) not valid',
      'alter table orders add constraint f foreign key (payer_id, tenant_id) references users (tenant_id, id) not valid',
      'alter table orders add constraint f foreign key (tenant_id, payer_id) references users (id, tenant_id) not valid',
      'alter table users add constraint e exclude using gist (name with =)',
      invoices({ table: `create table invoices (${columns}, primary key (tenant_id, id), unique (id))` }),
    ],
    keeps: [
      [
        'create unique index concurrently users_name_key on users (tenant_id, name) where deleted_at is null',
        outside,
      ],
      'alter table orders add constraint f foreign key (tenant_id, payer_id) references users (tenant_id, id) not valid',
      'alter table orders add constraint f foreign key (tenant_id, payer_id) references users not valid',
      invoices({
        table: `create table invoices (${columns}, primary key (tenant_id, id),
          foreign key (tenant_id, user_id) references users (tenant_id, id),
          exclude using gist (tenant_id with =, note with =))`,
      }),
    ],
  },
  grant: {
    breaks: [
      invoices({ grant: '' }),
      invoices({ grant: 'grant select on invoices to tenantry_app' }),
      invoices({ grant: 'grant select, insert on invoices to public' }),
      invoices({ grant: 'grant all on invoices to tenantry_app' }),
      'grant delete on users to tenantry_app',
      'grant truncate on users to tenantry_app',
      'grant select on users to reporting',
      'grant select on users to tenantry_app with grant option',
      'grant update (email) on users to tenantry_app',
      `${invoices()}; revoke insert on invoices from tenantry_app`,
    ],
    keeps: [
      invoices({ grant: 'grant select, insert on invoices to tenantry_app' }),
      'grant execute on function total(int) to tenantry_app',
      'grant select, insert, update on users to tenantry_app',
    ],
  },
  'qualified-name': {
    breaks: [
      'alter table shared.users add column note text',
      'comment on table control.tenants is $$x$$',
      'comment on column shared.users.email is $$x$$',
      ['drop table tenant_acme.users', { contract: true }],
      'create trigger t before update on users for each row execute function control.touch()',
      'alter table users add column mood public.mood',
      'alter table users add column x int default public.next()',
      'alter table users alter column email set default (select max(shared.users.email) from users)',
      'alter table orders add constraint f foreign key (tenant_id, user_id) references shared.users not valid',
      `comment on function public.next() is 'x'`,
      `alter table users alter column id set default nextval('shared.numbers'::regclass)`,
      ['alter table users set schema archive', { contract: true }],
      'grant usage on schema shared to tenantry_app',
      'grant select on all tables in schema shared to tenantry_app',
      ['', { backfill: { table: 'shared.users', set: 'name = email', where: 'name is null' } }],
    ],
    keeps: [
      'alter table users add column born pg_catalog.date default pg_catalog.now()',
      `comment on column users.email is 'as shared.users'`,
      `comment on constraint users_email_check on users is 'lower case'`,
      `alter table users alter column note set default 'shared.users'`,
      'create trigger t before update on users for each row execute function touch()',
    ],
  },
  'database-wide': {
    breaks: [
      'create extension if not exists citext',
      'create schema extra',
      'create role reporting',
      'grant tenantry_owner to tenantry_app',
      'alter default privileges grant select on tables to tenantry_app',
      'create publication everything for all tables',
      'drop extension citext',
      'drop schema extra',
      'alter database tenantry set timezone to utc',
    ],
    keeps: [
      `create type mood as enum ('good', 'bad')`,
      'create function one() returns int language sql return 1',
    ],
  },
  'owner-rights': {
    breaks: [
      'create view names as select name from users',
      'create view names with (security_invoker = false) as select name from users',
      'create materialized view names as select name from users',
      'create sequence numbers',
      'alter table users add column number bigserial',
      'alter table users add column number bigint generated always as identity',
      'create function names() returns setof text language sql security definer as $$select name from users$$',
    ],
    keeps: [
      'create view names with (security_invoker = true) as select name from users',
      'create view names with (security_invoker) as select name from users',
      'create function names() returns setof text language sql as $$select name from users$$',
      'create function names() returns setof text language sql security invoker as $$select name from users$$',
    ],
  },
  'session-setting': {
    breaks: [
      `set lock_timeout = '1s'`,
      `set session statement_timeout = '1s'`,
      'set role tenantry_app',
      'set session authorization tenantry_app',
      'reset all',
      'reset search_path',
      'set local search_path = shared',
      `set local lock_timeout = '1min'`,
      `set local "Lock_Timeout" = '1min'`,
      'set transaction isolation level serializable',
      'set session characteristics as transaction read only',
      `select set_config('search_path', 'shared', false)`,
      `select set_config('search_path', 'shared', true)`,
      `select set_config('app.tenant_id', '', true)`,
      'listen changes',
      'unlisten *',
      'discard all',
      `prepare one as select 1`,
      'select pg_advisory_lock(1)',
      'select pg_try_advisory_lock_shared(1)',
      'select pg_advisory_unlock_all()',
      'create temporary table rows (id int)',
      'create temp table rows as select 1 as one',
    ],
    keeps: [
      `set local maintenance_work_mem = '256MB'`,
      `select set_config('maintenance_work_mem', '256MB', true)`,
      'select pg_advisory_xact_lock(1)',
      'create function quiet() returns int language sql set search_path = pg_temp return 1',
      'set constraints all immediate',
    ],
  },
  'transaction-control': {
    breaks: [
      'begin',
      'start transaction',
      'commit',
      'rollback',
      'savepoint one',
      `prepare transaction 'one'`,
      'alter table users add x int; commit; alter table users add y int',
    ],
    keeps: [
      `comment on table users is 'begin; commit'`,
      'create function f() returns int language plpgsql as $$begin return 1; end$$',
    ],
  },
  concurrently: {
    breaks: [
      'create index concurrently users_name_idx on users (tenant_id, name)',
      'drop index concurrently users_name_idx',
      'reindex table concurrently users',
      'vacuum users',
      'alter table measures detach partition old concurrently',
      ['create index concurrently on users (tenant_id, name)', outside],
      ['create index users_name_idx on users (tenant_id, name)', outside],
      ['alter table users add column note text', outside],
      [
        `create index concurrently users_name_idx on users (tenant_id, name); alter table users add note text`,
        outside,
      ],
      ['reindex table users', outside],
    ],
    keeps: [
      ['create index concurrently users_name_idx on users (tenant_id, name)', outside],
      ['drop index concurrently if exists users_name_idx', outside],
      ['reindex index concurrently users_name_idx', outside],
      ['create index concurrently a on users (tenant_id, name); drop index concurrently b', outside],
      'analyze users',
    ],
  },
  opaque: {
    breaks: ['do $$ begin delete from users; end $$', 'call rebuild()'],
    keeps: ['select 1'],
  },
  'data-change': {
    breaks: [
      `update users set name = ''`,
      'delete from users',
      'insert into users (id) select id from orders',
      'with gone as (delete from users returning id) select count(*) from gone',
      'merge into users using orders on false when matched then delete',
      'truncate users',
    ],
    keeps: [
      'select count(*) from users',
      'create function clear() returns void language sql begin atomic delete from users; end',
      ['', { backfill: { table: 'users', set: 'name = email', where: 'name is null' } }],
    ],
  },
  contract: {
    breaks: [
      'drop table users',
      'drop view names',
      'drop function total(int)',
      'alter table users drop column name',
      'alter table users rename to people',
      'alter table users rename column name to nick',
      'alter table users alter column name set not null',
      'alter table users alter column name drop not null',
      'alter table users alter column role drop default',
      'revoke update on users from tenantry_app',
      'alter table users add column nick text not null',
    ],
    keeps: [
      ['alter table users drop column name', { contract: true }],
      ['drop table users', { contract: true }],
      ['alter table users rename to people', { contract: true }],
      'alter table users rename constraint users_name_check to users_nick_check',
      `alter table users alter column role set default 'member'`,
      `alter table users add column nick text not null default ''`,
      'create table rows (id int, note text); alter table rows rename column note to remark; drop table rows',
    ],
  },
  'adding-required-field': {
    breaks: [['alter table users add column nick text not null', { contract: true }]],
    keeps: [`alter table users add column nick text not null default ''`],
  },
  'adding-field-with-default': {
    breaks: ['alter table users add column key uuid default gen_random_uuid()'],
    keeps: ['alter table users add column seen timestamptz default now()'],
  },
  'adding-foreign-key-constraint': {
    breaks: [
      'alter table orders add constraint f foreign key (tenant_id, payer_id) references users (tenant_id, id)',
    ],
    keeps: [
      'alter table orders add constraint f foreign key (tenant_id, payer_id) references users (tenant_id, id) not valid',
      'alter table orders validate constraint f',
    ],
  },
  'adding-not-nullable-field': {
    breaks: [['alter table users alter column name set not null', { contract: true }]],
    keeps: [
      [
        'alter table users validate constraint named; alter table users alter column name set not null',
        { contract: true },
      ],
    ],
  },
  'adding-serial-primary-key-field': {
    breaks: ['alter table users add constraint users_pkey primary key (tenant_id, id)'],
    keeps: [
      invoices({
        table: `create table invoices (${columns}); alter table invoices add primary key (tenant_id, id)`,
      }),
    ],
  },
  'changing-column-type': {
    breaks: [['alter table users alter column name type varchar(9)', { contract: true }]],
    keeps: ['alter table users add column age bigint'],
  },
  'constraint-missing-not-valid': {
    breaks: [
      'alter table users add constraint named check (name is not null)',
      'alter table users add constraint named check (name is not null) not valid; alter table users validate constraint named',
    ],
    keeps: [
      'alter table users add constraint named check (name is not null) not valid',
      'alter table users validate constraint named',
    ],
  },
  'require-concurrent-index-creation': {
    breaks: ['create index users_name_idx on users (tenant_id, name)'],
    keeps: [
      ['create index concurrently users_name_idx on users (tenant_id, name)', outside],
      `${invoices()}; create index invoices_note_idx on invoices (tenant_id, note)`,
      'create temp table rows as select 1 as one; create index on rows (one)',
    ],
  },
  'require-concurrent-index-deletion': {
    breaks: ['drop index users_name_idx'],
    keeps: [['drop index concurrently users_name_idx', outside]],
  },
  'prefer-timestamp-tz': {
    breaks: ['alter table users add column seen timestamp'],
    keeps: ['alter table users add column seen timestamptz'],
  },
  'ban-char-field': {
    breaks: ['alter table users add column country char(2)'],
    keeps: ['alter table users add column country text'],
  },
  'identifier-too-long': {
    breaks: [`alter table users add column ${'long_'.repeat(14)} text`],
    keeps: [`alter table users add column ${'long_'.repeat(12)} text`],
  },
};

const named = (item: Case): [string, File] => (typeof item === 'string' ? [item, {}] : item);

describe.each(Object.entries(cases))('%s', (rule, { breaks, keeps }) => {
  it.each(breaks.map(named))('is broken by: %s %j', async (sql, file) => {
    expect(await rulesOf(sql, file)).toContain(rule);
  });

  it.each(keeps.map(named))('is kept by: %s %j', async (sql, file) => {
    expect(await rulesOf(sql, file)).not.toContain(rule);
  });
});

it.each([
  ['a column', 'alter table users add column nick text'],
  ['a column with a value', 'alter table users add column logins bigint not null default 0'],
  ['an index', 'create index concurrently users_name_idx on users (tenant_id, name)', outside],
  ['an index less', 'drop index concurrently users_name_idx', outside],
  ['a check', 'alter table users add constraint c check (length(name) < 200) not valid'],
  ['a check that holds', 'alter table users validate constraint c'],
  [
    'a reference',
    'alter table orders add constraint f foreign key (tenant_id, payer_id) references users (tenant_id, id) not valid',
  ],
  [
    'rows that are rewritten',
    '',
    { backfill: { table: 'users', set: 'nick = name', where: 'nick is null' } },
  ],
  ['a column less', 'alter table users drop column name', { contract: true }],
  [
    'a column that is never null',
    `alter table users validate constraint nick_given; alter table users alter column nick set not null;
     alter table users drop constraint nick_given`,
    { contract: true },
  ],
  ['a trigger', 'create trigger t before update on users for each row execute function touch()'],
  ['a comment', `comment on table users is 'who logs in'`],
] satisfies [string, string, File?][])('%s is brought in without a word', async (_what, sql, file = {}) => {
  expect(await rulesOf(sql, file)).toEqual([]);
});

it('every rule of our own is tried above', () => {
  const own = ruleNames.filter((rule) => !(rule in squawkRules));
  expect(own.filter((rule) => !(rule in cases))).toEqual([]);
});

describe('a step', () => {
  const index = 'create index users_name_idx on users (tenant_id, name)';

  it('that asks the database is opaque, and judged by what is known of it', async () => {
    const findings = await lint(async (knex) => {
      await knex.raw('alter table users drop column name');
      if (await knex.schema.hasColumn('users', 'nick')) await knex.raw('drop table users');
    });
    expect(findings.map(({ rule }) => rule)).toEqual(['opaque', 'contract']);
    expect(findings[0]).toMatchObject({ step: '0009_step', statement: '' });
  });

  it('made with tenantTable() has nothing to be said of, however much is in it', async () => {
    const findings = await lint((knex) =>
      tenantTable(knex, {
        name: 'invoices',
        columns: (table) => table.text('number').notNullable(),
        unique: [['number']],
        references: { user_id: 'users' },
        indexes: { number: ['number'] },
        appendOnly: true,
      }),
    );
    expect(findings).toEqual([]);
  });

  it('with several statements in one text is told the one that is meant', async () => {
    const findings = await lint(`-- wärmer
      alter table users add column note text; ${index};
      alter table users drop column name -- no more`);
    expect(findings).toMatchObject([
      { rule: 'require-concurrent-index-creation', statement: index },
      { rule: 'contract', statement: 'alter table users drop column name -- no more' },
    ]);
  });

  it('that says nothing wrong in a backfill is told so, and one that says more than an UPDATE is not believed', async () => {
    const of = (set: string) => rulesOf('', { backfill: { table: 'users', set, where: 'name is null' } });
    expect(await of('name = email')).toEqual([]);
    expect(await of('name = email where true; drop table users; select 1')).toEqual(['syntax']);
    expect(await of('name = email where true; delete from users')).toEqual(['syntax']);
    expect(await of('name = ')).toEqual(['syntax']);
  });

  it('says with a reason what does not count', async () => {
    const reason = 'The table is empty everywhere.';
    const findings = await lint(index, { allow: { 'require-concurrent-index-creation': reason } });
    expect(findings).toMatchObject([{ rule: 'require-concurrent-index-creation', allowed: reason }]);
    expect(objections(findings)).toEqual([]);
  });

  it.each([
    [{ 'require-concurrent-index-creation': ' ' }, ['require-concurrent-index-creation', 'allow']],
    [{ 'require-index': 'It is called otherwise.' }, ['require-concurrent-index-creation', 'allow']],
    [{ 'prefer-text-field': 'It is off.' }, ['require-concurrent-index-creation', 'allow']],
    [{ allow: 'All of it.' }, ['require-concurrent-index-creation', 'allow']],
  ])('that allows %j is not let through', async (allow, rules) => {
    expect(await rulesOf(index, { allow })).toEqual(rules);
  });

  it.each([
    [
      `-- squawk-ignore require-concurrent-index-creation\n${index}`,
      ['require-concurrent-index-creation', 'allow'],
    ],
    [`create -- squawk-ignore-file\n index users_name_idx on users (tenant_id, name)`, ['allow']],
  ])('does not allow by a comment: %s', async (sql, rules) => {
    expect(await rulesOf(sql)).toEqual(rules);
  });
});

describe('squawk', () => {
  const index = 'create index users_name_idx on users (tenant_id, name)';

  async function warned(sql: string, options: LintOptions) {
    const warnings: string[] = [];
    const rules = await rulesOf(sql, {}, { ...options, warn: (line) => warnings.push(line) });
    return { rules, warnings };
  }

  it('is missed aloud where its program cannot run, and our own rules hold', async () => {
    const { rules, warnings } = await warned(`${index}; drop table users`, { program: '/nowhere/squawk' });
    expect(rules).toEqual(['contract']);
    expect((await warned('-- nothing to judge', { program: '/nowhere/squawk' })).warnings).toEqual([]);
    expect(warnings).toEqual([
      expect.stringMatching(/^squawk's rules were not applied, only our own: .*ENOENT/),
    ]);
  });

  it('is missed aloud where there is no program for the platform', async () => {
    const { arch } = process;
    Object.defineProperty(process, 'arch', { value: 'riscv64' });
    try {
      const { rules, warnings } = await warned(index, {});
      expect(rules).toEqual([]);
      expect(warnings).toEqual([expect.stringContaining(`@squawk-cli/${process.platform}-riscv64`)]);
    } finally {
      Object.defineProperty(process, 'arch', { value: arch });
    }
  });

  it('judges the rest of a step when it cannot read a part of it', async () => {
    const unreadBySquawk =
      'alter table users add constraint e exclude using gist (tenant_id with operator(pg_catalog.=))';
    const { rules, warnings } = await warned(`${unreadBySquawk}; ${index}`, {});
    expect(rules).toEqual(['require-concurrent-index-creation']);
    expect(warnings).toEqual([expect.stringContaining(unreadBySquawk)]);
  });

  it('says one thing of a constraint, the better one', async () => {
    const foreign = 'add constraint f foreign key (tenant_id, payer_id) references users (tenant_id, id)';
    const check = 'add constraint c check (total > 0)';
    expect(await rulesOf(`alter table orders ${foreign}`)).toEqual(['adding-foreign-key-constraint']);
    expect((await rulesOf(`alter table orders ${foreign}, ${check}`)).toSorted()).toEqual([
      'adding-foreign-key-constraint',
      'constraint-missing-not-valid',
    ]);
  });

  it('is told which PostgreSQL is meant', async () => {
    const sql =
      'alter table users validate constraint named; alter table users alter column name set not null';
    expect(await rulesOf(sql, { contract: true }, { pgVersion: '11' })).toContain(
      'adding-not-nullable-field',
    );
    expect(await rulesOf(sql, { contract: true }, { pgVersion: '15' })).toEqual([]);
  });
});

describe('the ladder control', () => {
  const options: LintOptions = { ladder: 'control' };

  it('has tables without tenants, names its schema and writes rows', async () => {
    const sql = `create table extras (id int primary key, name text unique);
      insert into extras values (1, 'x'); grant select on extras to reporting; create view all_extras as select * from control.extras`;
    expect(await rulesOf(sql, {}, options)).toEqual([]);
  });

  it('is held to what the runner needs, and to what blocks the platform', async () => {
    const sql = `set lock_timeout = 0; begin; create index tenants_name_idx on tenants (name)`;
    expect(await rulesOf(sql, {}, options)).toEqual([
      'session-setting',
      'transaction-control',
      'require-concurrent-index-creation',
    ]);
  });

  it('has no gate, so that a contract step is not enough', async () => {
    expect(await rulesOf('alter table tenants drop column name', { contract: true }, options)).toEqual([
      'contract',
    ]);
  });
});

it('a hundred steps are judged at once, each by itself', async () => {
  const scripts = await Promise.all(
    Array.from({ length: 100 }, (_, n) =>
      scriptOf(`${1000 + n}_step`, {
        up: (knex) =>
          knex.raw(n === 50 ? 'create index i on users (name)' : invoices()).then(() => undefined),
        down: async () => undefined,
      }),
    ),
  );
  const before = process.cpuUsage();
  const findings = await lintLadder(scripts);
  const { user, system } = process.cpuUsage(before);
  expect(findings).toMatchObject([{ step: '1050_step', rule: 'require-concurrent-index-creation' }]);
  expect((user + system) / 1000).toBeLessThan(1000);
});
