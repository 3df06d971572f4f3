import { afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { limits } from '../../src/db/limits.ts';
import { createPool, type NodePool } from '../../src/db/pool.ts';
import { schemaName, tenantId, type WriteSession } from '../../src/db/index.ts';
import { readUnit, type UnitOptions, writeOneUnit, writeUnit } from '../../src/db/transaction.ts';
import { useDatabase } from '../support/database.ts';
import { until } from '../support/until.ts';

/** The ends of units of work, on a pool of one connection: whatever a unit leaves behind, the next one would find. */
const database = useDatabase();
const units = { readUnit, writeUnit, writeOneUnit };
type Name = keyof typeof units;

beforeAll(async () => {
  await database.superuser(`
    create table shared.entries (n int primary key check (n > 0));
    create table shared.late (n int unique deferrable initially deferred);
    create function shared.dawdle() returns trigger language plpgsql
      as $$ begin perform pg_sleep(5); return null; end $$;
    create table shared.slow (n int);
    create constraint trigger slow after insert on shared.slow deferrable initially deferred
      for each row execute function shared.dawdle();
    grant select, insert on shared.entries, shared.late, shared.slow to tenantry_app`);
});

let pool: NodePool;
beforeEach(async () => {
  await database.superuser('truncate shared.entries, shared.late, shared.slow');
  pool = poolWith('');
});
afterEach(() => pool.end());

function poolWith(parameters: string): NodePool {
  return createPool({
    name: 'of tests',
    url: `${database.env()['DATABASE_URL']}${parameters}`,
    max: 1,
    limits: limits.serving,
  });
}

const options: UnitOptions = {
  tenant: {
    id: tenantId('00000000-0000-7000-8000-000000000001'),
    slug: 'one',
    isolation: 'shared',
    schema: schemaName('shared'),
  },
  schema: schemaName('shared'),
  prepared: true,
  monotonicMs: () => performance.now(),
};

const run = <T>(name: Name, fn: (session: WriteSession) => Promise<T>, more: Partial<UnitOptions> = {}) =>
  pool.withLease((lease) => units[name](lease, { ...options, ...more }, fn));
const insert = (session: WriteSession, n: number) =>
  session.query('insert into entries (n) values ($1) returning n', [n]);
const entries = async () => {
  const rows = await database.superuser<{ n: number }>('select n from shared.entries order by n');
  return rows.map(({ n }) => n);
};
const backend = (session: WriteSession) =>
  session.query<{ pid: number }>('select pg_backend_pid() as pid').then(([row]) => row?.pid);

/** @returns the backend that serves the pool */
async function expectUsable(): Promise<number | undefined> {
  const pid = await run('readUnit', backend);
  await run('writeUnit', async (session) => {
    const [state] = await session.query(`select current_setting('transaction_read_only') as ro,
      current_setting('app.tenant_id') as tenant`);
    expect(state).toEqual({ ro: 'off', tenant: options.tenant?.id });
  });
  expect(pool.figures()).toMatchObject({ inUse: 0, waiting: 0 });
  return pid;
}

describe.each(['readUnit', 'writeUnit', 'writeOneUnit'] as const)('%s', (name) => {
  it.each<[string, string, unknown[]]>([
    ['parse', 'selec 1', []],
    ['bind', 'select $1::uuid', ['x']],
    ['execute', 'select 1 / $1::int', [0]],
  ])('that fails at %s leaves its connection as it was', async (_, text, values) => {
    const before = await expectUsable();
    for (let round = 0; round < 3; round += 1) {
      await expect(run(name, (session) => session.query(text, values))).rejects.toThrow();
      expect(await expectUsable()).toBe(before);
    }
    expect(pool.figures().tainted).toBe(0);
  });

  it('whose context fails runs nothing', async () => {
    const before = await expectUsable();
    const schema = 'a\0b' as UnitOptions['schema'];
    await expect(run(name, (session) => insert(session, 1), { schema })).rejects.toMatchObject({
      code: 'invalid_input',
    });
    expect(await entries()).toEqual([]);
    expect(await expectUsable()).toBe(before);
  });

  it('that loses its connection while its statement runs fails alone: those who wait get another one', async () => {
    const before = await expectUsable();
    for (let round = 0; round < 5; round += 1) {
      const failing = expect(
        run(name, (session) => session.query('select pg_sleep(10)')),
      ).rejects.toMatchObject({ code: 'unavailable', retryAfterS: 1 });
      const waiting = Array.from({ length: 5 }, () => run(name, backend));
      await until(async () => (await terminate()) > 0, 'a backend to be terminated');
      await failing;
      expect(await Promise.all(waiting)).not.toContain(before);
    }
    await expectUsable();
  });

  it('that loses its connection before its first statement fails, and the next one works', async () => {
    const before = await expectUsable();
    const failing = run(name, async (session) => {
      expect(await terminate()).toBe(1);
      return insert(session, 1);
    });
    await expect(failing).rejects.toMatchObject({ code: 'unavailable' });
    expect(await expectUsable()).not.toBe(before);
    expect(await entries()).toEqual([]);
  });

  it('whose values cannot be sent or read fails alone', async () => {
    const loop: Record<string, unknown> = {};
    loop['self'] = loop;
    await expect(run(name, (session) => session.query('select $1::jsonb', [loop]))).rejects.toThrow(
      /circular/,
    );
    await expectUsable();
    const huge = `select '9007199254740993'::bigint as n`;
    await expect(run(name, (session) => session.query(huge))).rejects.toThrow(/too large/);
    await expectUsable();
  });

  it('that gets no answer is given up after one time-out, with its connection', async () => {
    const before = await expectUsable();
    await pool.end();
    pool = poolWith('?query_timeout=300');
    const startedMs = performance.now();
    const sleeping = run(name, (session) => session.query('select pg_sleep(1)'));
    await expect(sleeping).rejects.toMatchObject({ code: 'unavailable' });
    expect(performance.now() - startedMs).toBeLessThan(580);
    expect(await expectUsable()).not.toBe(before);
  });
});

/** Ends all backends of the pool. @returns how many there were */
async function terminate(): Promise<number> {
  const [row] = await database.superuser<{ n: number }>(
    `select count(pg_terminate_backend(pid, 5000))::int as n from pg_stat_activity
     where datname = current_database() and usename = 'tenantry_app'`,
  );
  return row?.n ?? 0;
}

describe('a unit that writes', () => {
  it('and fails late keeps nothing of what came before', async () => {
    const before = await expectUsable();
    const failing = run('writeUnit', async (session) => {
      await insert(session, 1);
      await insert(session, 2);
      await insert(session, 1);
    });
    await expect(failing).rejects.toMatchObject({ code: 'conflict' });
    expect(await entries()).toEqual([]);
    expect(await expectUsable()).toBe(before);
  });

  it('and fails at COMMIT keeps nothing', async () => {
    const failing = run('writeUnit', async (session) => {
      await insert(session, 1);
      await session.query('insert into late (n) values (1), (1)');
    });
    await expect(failing).rejects.toMatchObject({ code: 'conflict' });
    const failingOne = run('writeOneUnit', (session) =>
      session.query('with e as (insert into entries (n) values (1)) insert into late (n) values (2), (2)'),
    );
    await expect(failingOne).rejects.toMatchObject({ code: 'conflict' });
    expect(await entries()).toEqual([]);
    await expectUsable();
  });

  it('and loses its connection between two statements, or at COMMIT, keeps nothing', async () => {
    const between = run('writeUnit', async (session) => {
      await insert(session, 1);
      await terminate();
      return insert(session, 2);
    });
    await expect(between).rejects.toMatchObject({ code: 'unavailable' });
    await expectUsable();

    const after = run('writeUnit', async (session) => {
      await insert(session, 1);
      await terminate();
    });
    await expect(after).rejects.toMatchObject({ code: 'unavailable' });
    await expectUsable();

    for (const name of ['writeUnit', 'writeOneUnit'] as const) {
      const committing = expect(
        run(name, (session) =>
          session.query('with e as (insert into entries (n) values (1)) insert into slow (n) values (1)'),
        ),
      ).rejects.toMatchObject({ code: 'unavailable' });
      await until(async () => {
        const rows = await database.superuser(
          `select from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'`,
        );
        return rows.length > 0;
      }, 'COMMIT to be under way');
      await terminate();
      await committing;
      await expectUsable();
    }
    expect(await entries()).toEqual([]);
  });

  it('with several statements at once is one unit, also when one of them fails', async () => {
    const at = (...all: number[]) =>
      run('writeUnit', (session) => Promise.all(all.map((n) => insert(session, n))));
    await at(1, 2, 3);
    await expect(at(4, -5, 6)).rejects.toMatchObject({ code: 'unprocessable' });
    expect(await entries()).toEqual([1, 2, 3]);
    await expectUsable();
  });

  it('of one statement commits exactly that one', async () => {
    await run('writeOneUnit', (session) => insert(session, 1));
    const two = run('writeOneUnit', async (session) => {
      await insert(session, 2);
      await insert(session, 3);
    });
    await expect(two).rejects.toThrow('A unit of one statement sent another one');
    expect(await entries()).toEqual([1, 2]);
    await run('writeOneUnit', async () => undefined);
    await expectUsable();
    expect(await entries()).toEqual([1, 2]);
  });

  it('is told the position of its commit, and one that failed is not', async () => {
    const told: bigint[] = [];
    const committed = (position: { lsn: bigint } | undefined) => void told.push(position?.lsn ?? 0n);
    await run('writeUnit', (session) => insert(session, 1), { committed });
    await run('writeOneUnit', (session) => insert(session, 2), { committed });
    await expect(run('writeUnit', (session) => insert(session, 2), { committed })).rejects.toThrow();
    await expect(run('writeOneUnit', (session) => insert(session, 2), { committed })).rejects.toThrow();
    expect(told).toHaveLength(2);
    expect(told[0]).toBeLessThan(told[1] ?? 0n);
  });
});
