import { afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { runBatch, type Step } from '../../src/db/batch.ts';
import { useDatabase } from '../support/database.ts';

/** Several statements under one Sync: what is kept when one of them fails, and what the connection is good for then. */
const database = useDatabase();

const insert = (n: number): Step => ({ text: 'insert into entries (n) values ($1)', values: [n] });
const text = (n: number): Step => ({ text: `select ${n} as n, $1::int as v`, values: [n] });
const count = async () => {
  const [row] = await database.superuser<{ n: number }>('select count(*)::int as n from public.entries');
  return row?.n;
};

beforeAll(async () => {
  await database.superuser(`
    create table public.entries (n int primary key check (n > 0));
    grant usage on schema public to tenantry_app;
    grant select, insert on public.entries to tenantry_app`);
});
beforeEach(() => database.superuser('truncate public.entries'));

let client: Client;
beforeEach(async () => {
  client = new Client({ connectionString: database.env()['DATABASE_URL'] });
  client.on('error', () => undefined);
  await client.connect();
});
afterEach(() => client.end());

async function expectUsable(prepared: boolean): Promise<void> {
  const [one] = await runBatch(client, [{ text: 'select $1::int as one', values: [1] }], prepared);
  expect(one).toEqual({ rows: [{ one: 1 }], command: 'SELECT 1' });
  expect(client.getTransactionStatus()).toBe('I');
}

/** A step that fails, by the message of the protocol that PostgreSQL refuses. */
const faults: [string, Step, string][] = [
  ['parse: no SQL', { text: 'selec 1' }, '42601'],
  ['parse: no such table', { text: 'select * from nowhere' }, '42P01'],
  ['bind: no such value', { text: 'select $1::uuid', values: ['x'] }, '22P02'],
  ['bind: NUL', { text: 'select $1::text', values: ['a\0b'] }, '22021'],
  ['bind: too few values', { text: 'select $1::int, $2::int', values: [1] }, '08P01'],
  ['execute', { text: 'select 1 / $1::int', values: [0] }, '22012'],
  ['execute: a constraint', insert(-1), '23514'],
  ['execute: refused', { text: 'delete from entries' }, '42501'],
];

describe.each([
  ['prepared', true],
  ['not prepared', false],
])('a step that fails (%s)', (_, prepared) => {
  describe.each(faults)('at %s', (_, faulty, code) => {
    it.each([0, 1, 2])('as step %i of an implicit transaction leaves nothing', async (at) => {
      const steps = [insert(1), insert(2), insert(3)].toSpliced(at, 0, faulty);
      // Twice: the second time PostgreSQL may know some of the statements already.
      for (let round = 0; round < 2; round += 1) {
        await expect(runBatch(client, steps, prepared)).rejects.toMatchObject({ code, step: at });
        await expectUsable(prepared);
        expect(await count()).toBe(0);
      }
      await runBatch(client, [insert(1), insert(2)], prepared);
      expect(await count()).toBe(2);
    });

    it('behind BEGIN leaves a transaction that only ROLLBACK ends, and nothing after it', async () => {
      const steps = [{ text: 'begin' }, insert(1), faulty, { text: 'commit' }, insert(2)];
      await expect(runBatch(client, steps, prepared)).rejects.toMatchObject({ code, step: 2 });
      await expect(runBatch(client, [insert(3)], prepared)).rejects.toMatchObject({ code: '25P02' });
      expect(client.getTransactionStatus()).toBe('E');
      await runBatch(client, [{ text: 'rollback' }], prepared);
      await expectUsable(prepared);
      expect(await count()).toBe(0);
    });
  });
});

it('a BEGIN that fails takes with it what is behind it', async () => {
  const failing = [{ text: 'begin isolation level none' }, insert(1), { text: 'commit' }, insert(2)];
  await expect(runBatch(client, failing, true)).rejects.toMatchObject({ code: '42601', step: 0 });
  await expectUsable(true);
  expect(await count()).toBe(0);
});

it('a COMMIT that fails leaves nothing, and the statement behind it is not run', async () => {
  await database.superuser(`create table public.late (n int unique deferrable initially deferred);
    grant insert on public.late to tenantry_app`);
  const twice = { text: 'insert into late (n) values (1), (1)' };
  const steps = [{ text: 'begin' }, insert(1), twice, { text: 'commit' }, insert(2)];
  await expect(runBatch(client, steps, true)).rejects.toMatchObject({ code: '23505', step: 3 });
  await expectUsable(true);
  expect(await count()).toBe(0);
});

describe('a value that cannot be sent', () => {
  const loop: Record<string, unknown> = {};
  loop['self'] = loop;
  const refusing = {
    toPostgres() {
      throw new Error('not this one');
    },
  };
  it.each([
    ['a loop', [loop], /circular/],
    ['one that refuses', [refusing], /not this one/],
    ['behind a good one', ['a', loop], /circular/],
    ['65,536 of them', Array.from({ length: 65_536 }, () => 1), /65,?535/],
  ])('is refused before anything is sent: %s', async (_, values, message) => {
    const bad = { text: `select ${values.map((_, n) => `$${n + 1}::text`).join()}`, values };
    for (let round = 0; round < 2; round += 1) {
      await expect(runBatch(client, [insert(1), bad, insert(2)], true)).rejects.toThrow(message);
      await expectUsable(true);
      expect(await count()).toBe(0);
    }
    // The statements before it are not taken for known: PostgreSQL has never heard of them.
    await runBatch(client, [insert(1), insert(2)], true);
    expect(await count()).toBe(2);
  });
});

it('a value that cannot be read fails its batch, not the process, and the connection works at once', async () => {
  const huge = { text: `select '9007199254740993'::bigint as n` };
  for (let round = 0; round < 2; round += 1) {
    await expect(runBatch(client, [text(1), huge, text(2)], true)).rejects.toThrow(/too large/);
    await expectUsable(true);
  }
});

it('COPY is refused without a wait; in the middle of a batch it costs the connection', async () => {
  const copy = { text: 'copy entries from stdin' };
  for (const steps of [[copy], [insert(1), copy]]) {
    await expect(runBatch(client, steps, true)).rejects.toThrow(/COPY/);
    await expectUsable(true);
  }
  await expect(runBatch(client, [insert(1), copy, insert(2)], true)).rejects.toThrow();
  expect(await count()).toBe(0);
});

describe('statements', () => {
  it('may stand in a batch several times', async () => {
    for (let round = 0; round < 2; round += 1) {
      const results = await runBatch(client, [text(1), text(1), text(2), text(1)], true);
      expect(results.map(({ rows }) => rows[0]?.['n'])).toEqual([1, 1, 2, 1]);
    }
  });

  it('beyond the thousandth are not kept by the connection, and work', async () => {
    for (let round = 0; round < 2; round += 1) {
      for (let start = 0; start < 1500; start += 100) {
        const steps = Array.from({ length: 100 }, (_, n) => text(start + n));
        const results = await runBatch(client, steps, true);
        expect(results.map(({ rows }) => rows[0])).toEqual(
          steps.map((_, n) => ({ n: start + n, v: start + n })),
        );
      }
    }
    expect(await preparedCount()).toBe(1000);
  });

  it('leave nothing on the connection when they are not to be prepared', async () => {
    await runBatch(client, [text(1), insert(1), text(2)], false);
    await expect(runBatch(client, [{ text: 'selec' }], false)).rejects.toMatchObject({ code: '42601' });
    expect(await preparedCount()).toBe(0);
  });

  it('that answer nothing, with nothing, or with no column are told apart from rows', async () => {
    const results = await runBatch(
      client,
      [{ text: '' }, { text: 'select 1 as n where false' }, { text: 'select' }, insert(1), text(7)],
      true,
    );
    expect(results).toEqual([
      { rows: [], command: '' },
      { rows: [], command: 'SELECT 0' },
      { rows: [{}], command: 'SELECT 1' },
      { rows: [], command: 'INSERT 0 1' },
      { rows: [{ n: 7, v: 7 }], command: 'SELECT 1' },
    ]);
  });

  async function preparedCount(): Promise<number> {
    const [result] = await runBatch(
      client,
      [{ text: 'select count(*)::int as n from pg_prepared_statements' }],
      false,
    );
    return result?.rows[0]?.['n'] as number;
  }
});

describe('a prepared statement that the tables have outgrown', () => {
  const alter = (type: string) =>
    database.superuser(`alter table public.grown alter v type ${type} using v::${type}`);
  const run = (step: Step) => runBatch(client, [step], true);
  const kept = async () => {
    const { rows } = await client.query<{ name: string }>(
      `select name from pg_prepared_statements where statement like '%grown%'`,
    );
    return rows.length;
  };
  beforeEach(async () => {
    await database.superuser(`drop table if exists public.grown; create table public.grown (v int);
      insert into public.grown values (1); grant select, insert on public.grown to tenantry_app`);
  });

  it.each([
    ['the type of a result', { text: 'select v from grown' }, 'bigint', '0A000'],
    ['the type of a parameter', { text: 'insert into grown values ($1)', values: ['1'] }, 'bool', '42804'],
    ['the type of an operand', { text: 'select 1 from grown where v = $1', values: ['1'] }, 'text', '42883'],
  ])('by %s fails once, and is prepared anew', async (_, step, type, code) => {
    await run(step);
    await alter(type);
    await expect(run(step)).rejects.toMatchObject({ code, step: 0, outgrown: true });
    await expectUsable(true);
    for (let times = 0; times < 3; times += 1) await run(step);
    expect(await kept()).toBe(2);
  });

  it('to and fro, as in a fleet that is being migrated, fails twice and then never', async () => {
    const step = { text: 'select v from grown' };
    let failed = 0;
    for (let times = 0; times < 6; times += 1) {
      await alter(times % 2 === 0 ? 'bigint' : 'int');
      for (let more = 0; more < 2; more += 1) {
        try {
          expect(await run(step)).toMatchObject([{ rows: [{ v: 1 }] }]);
        } catch (error) {
          expect(error).toMatchObject({ outgrown: true });
          failed += 1;
        }
      }
    }
    expect(failed).toBe(2);
    expect(await kept()).toBe(2);
  });

  it('that fails when it is first prepared, or for another reason, is not one', async () => {
    const step = { text: 'select v / $1::int as v from grown', values: [0] };
    await expect(run({ text: 'select v || 1 - true from grown' })).rejects.toMatchObject({
      code: '42883',
      outgrown: false,
    });
    await run({ ...step, values: [1] });
    await expect(run(step)).rejects.toMatchObject({ code: '22012', outgrown: false });
    expect(await run({ ...step, values: [1] })).toMatchObject([{ rows: [{ v: 1 }] }]);
  });
});
