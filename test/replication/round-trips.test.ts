import { afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { limits } from '../../src/db/limits.ts';
import { createPool, type NodePool } from '../../src/db/pool.ts';
import { schemaName, tenantId, type WriteSession } from '../../src/db/index.ts';
import type { RoundTrips } from '../../src/db/round-trips.ts';
import { readUnit, sharedUnit, type UnitOptions, writeOneUnit, writeUnit } from '../../src/db/transaction.ts';
import { withConnection } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { until } from '../support/until.ts';

/** Units of one round trip share connections: what one of them meets, no other may notice. */
const database = useDatabase();

beforeAll(async () => {
  await database.superuser(`
    create table shared.numbers (n int primary key check (n > 0));
    create table shared.late_numbers (n int unique deferrable initially deferred);
    grant select, insert on shared.numbers, shared.late_numbers to tenantry_app`);
});

let pool: NodePool;
beforeEach(async () => {
  await database.superuser('truncate shared.numbers, shared.late_numbers');
  pool = poolOf(1);
  await pool.ask('select 1'); // the first connection tells whether they can be shared
});
afterEach(() => pool.end());

function poolOf(max: number): NodePool {
  const url = String(database.env()['DATABASE_URL']);
  return createPool({ name: 'of tests', url, max, limits: limits.serving });
}

function trips(): RoundTrips {
  const shared = pool.roundTrips();
  if (shared === undefined) throw new Error('Connections of this pool cannot be shared');
  return shared;
}

const optionsOf = (n: number, more: Partial<UnitOptions> = {}): UnitOptions => ({
  tenant: {
    id: tenantId(`00000000-0000-7000-8000-${String(n).padStart(12, '0')}`),
    slug: `t${n}`,
    isolation: 'shared',
    schema: schemaName('shared'),
  },
  schema: schemaName('shared'),
  prepared: true,
  monotonicMs: () => performance.now(),
  ...more,
});
const read = <T>(n: number, fn: (session: WriteSession) => Promise<T>, more: Partial<UnitOptions> = {}) =>
  sharedUnit(readUnit, trips(), optionsOf(n, more), fn);
const writeOne = <T>(fn: (session: WriteSession) => Promise<T>, more: Partial<UnitOptions> = {}) =>
  sharedUnit(writeOneUnit, trips(), optionsOf(1, more), fn);

interface Seen {
  tenant: string;
  pid: number;
}
const look = (session: WriteSession) =>
  session
    .query<Seen>(`select current_setting('app.tenant_id') as tenant, pg_backend_pid() as pid`)
    .then(([row]) => row);
const divide = (by: number) => (session: WriteSession) =>
  session.query<{ v: number }>('select 10 / $1::int as v', [by]).then(([row]) => row?.v);
const insert = (n: number) => (session: WriteSession) =>
  session.query('insert into numbers (n) values ($1)', [n]);
const numbers = async () => {
  const rows = await database.superuser<{ n: number }>('select n from shared.numbers order by n');
  return rows.map(({ n }) => n);
};
const many = Array.from({ length: 40 }, (_, n) => n + 1);

/** So that it counts as quick on the connection. */
async function learn(fn: (session: WriteSession) => Promise<unknown>): Promise<void> {
  for (let round = 0; round < 5; round += 1) await read(1, fn);
}

describe('reads at once on one connection', () => {
  it('each see their own tenant', async () => {
    await learn(look);
    for (let round = 0; round < 25; round += 1) {
      const seen = await Promise.all(many.map((n) => read(n, look)));
      expect(seen.map((row) => row?.tenant)).toEqual(many.map((n) => optionsOf(n).tenant?.id));
      expect(new Set(seen.map((row) => row?.pid)).size).toBe(1);
    }
    expect(pool.figures()).toMatchObject({ inUse: 0, idle: 1, waiting: 0, tainted: 0 });
  });

  it('fail alone', async () => {
    await learn(divide(2));
    const outcomes = await Promise.allSettled(many.map((n) => read(n, divide(n % 3))));
    for (const [index, outcome] of outcomes.entries()) {
      const by = (index + 1) % 3;
      if (by === 0) expect(outcome).toMatchObject({ status: 'rejected' });
      else expect(outcome).toEqual({ status: 'fulfilled', value: Math.trunc(10 / by) });
    }
    expect(pool.figures().tainted).toBe(0);
  });

  it('fail alone with a value that cannot be sent', async () => {
    await learn(divide(2));
    const loop: unknown[] = [];
    loop.push({ loop });
    const unsendable = (session: WriteSession) => session.query('select 10 / $1::int as v', [loop[0]]);
    const outcomes = await Promise.allSettled(
      many.map((n) => (n % 2 === 0 ? read(n, unsendable) : read(n, divide(5)))),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(
      many.map((n) => (n % 2 === 0 ? 'rejected' : 'fulfilled')),
    );
    expect(pool.figures().tainted).toBe(0);
  });

  it('cannot write', async () => {
    await learn(divide(2));
    const outcomes = await Promise.allSettled([read(1, divide(2)), read(1, insert(1)), read(1, divide(2))]);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(await numbers()).toEqual([]);
  });

  it('that lose their connection are told so, and those who wait get another one', async () => {
    await learn(look);
    const before = (await read(1, look))?.pid;
    const asleep = read(1, (session) => session.query('select pg_sleep(30)'));
    const behind = many.map((n) => read(n, look));
    await until(async () => {
      const ended = await database.superuser(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and usename = 'tenantry_app' and query like '%pg_sleep(30)%'
           and state = 'active'`,
      );
      return ended.length > 0;
    }, 'the backend to be terminated');
    await expect(asleep).rejects.toMatchObject({ code: 'unavailable' });
    const seen = await Promise.all(behind);
    expect(seen.map((row) => row?.tenant)).toEqual(many.map((n) => optionsOf(n).tenant?.id));
    expect(seen.map((row) => row?.pid)).not.toContain(before);
  });
});

describe('a read that nobody waits for any more', () => {
  it('is cancelled, and one that is met in its place is told to run again', async () => {
    const doze = (seconds: number) => (session: WriteSession) =>
      session.query('select pg_sleep($1::float)', [seconds]);
    await learn(doze(0));
    const gone = new AbortController();
    const first = read(1, doze(30), { signal: () => gone.signal });
    const others = Promise.allSettled([read(2, doze(0)), read(3, doze(0)), read(4, doze(0))]);
    setTimeout(() => gone.abort(), 200);
    await expect(first).rejects.toMatchObject({ code: 'client_closed_request' });
    for (const outcome of await others) {
      if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ cause: { code: '40001' } });
    }
    await read(1, look);
    expect(pool.figures()).toMatchObject({ inUse: 0, waiting: 0, tainted: 1 });
  });

  it('while it waits for a connection is not sent', async () => {
    const gone = new AbortController();
    let sent = false;
    const holding = read(1, (session) => session.query('select pg_sleep(0.5)'));
    const sending = () => {
      sent = true;
    };
    const waiting = read(2, look, { signal: () => gone.signal, sending });
    gone.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'client_closed_request' });
    expect(sent).toBe(false);
    await holding;
  });
});

describe('a slow statement', () => {
  it('travels alone: on two connections, others do not wait for it', async () => {
    await pool.end();
    pool = poolOf(2);
    await pool.ask('select 1');
    await learn(look);
    let asleep = true;
    const slow = read(1, (session) => session.query('select pg_sleep(1)')).finally(() => {
      asleep = false;
    });
    for (let round = 0; round < 5; round += 1) await Promise.all(many.map((n) => read(n, look)));
    expect(asleep).toBe(true);
    await slow;
  });
});

describe('a write of one statement', () => {
  it('is kept, and told its position', async () => {
    const told: (bigint | undefined)[] = [];
    await Promise.all(many.map((n) => writeOne(insert(n), { committed: (at) => void told.push(at?.lsn) })));
    expect(await numbers()).toEqual(many);
    expect(told.every((lsn) => lsn !== undefined && lsn > 0n)).toBe(true);
    expect(pool.figures()).toMatchObject({ inUse: 0, waiting: 0, tainted: 0 });
  });

  it('that fails, at once or at its commit, leaves nothing and costs nobody anything', async () => {
    const twice = (session: WriteSession) => session.query('insert into late_numbers (n) values (1), (1)');
    const committed = () => {
      throw new Error('it was not');
    };
    const outcomes = await Promise.allSettled([
      writeOne(insert(1)),
      writeOne(insert(-1), { committed }),
      writeOne(twice, { committed }),
      writeOne(insert(2)),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled']);
    expect(await numbers()).toEqual([1, 2]);
    expect(await database.superuser('select n from shared.late_numbers')).toEqual([]);
    expect(pool.figures().tainted).toBe(0);
  });

  it('stays known as kept when the connection is lost behind its commit', async () => {
    // The look at the position comes after the commit, and finds the backend gone.
    await database.superuser(`
      create function shared.ended() returns trigger language plpgsql security definer as $$
        begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$;
      create table shared.last_words (n int);
      grant insert on shared.last_words to tenantry_app;
      create constraint trigger ended after insert on shared.last_words deferrable initially deferred
        for each row execute function shared.ended()`);
    const told: unknown[] = [];
    const write = writeOne((session) => session.query('insert into last_words (n) values (1)'), {
      committed: (at) => void told.push(at),
    });
    const outcome = await write.then(
      () => 'kept',
      () => 'unknown',
    );
    const [{ kept } = { kept: 0 }] = await database.superuser<{ kept: number }>(
      'select count(*)::int as kept from shared.last_words',
    );
    // PostgreSQL may act on the signal before or after the commit; what is told must be true.
    if (outcome === 'kept') expect([kept, told]).toEqual([1, [undefined]]);
    else expect(told).toEqual([]);
  });
});

describe('writes at once on one connection', () => {
  beforeAll(() =>
    database.superuser(`
      create table shared.notes (
        n int primary key,
        tenant text default current_setting('app.tenant_id', true),
        xid xid8 default pg_current_xact_id());
      grant select, insert on shared.notes to tenantry_app`),
  );
  beforeEach(() => database.superuser('truncate shared.notes'));

  const note = (n: number, more: Partial<UnitOptions> = {}) =>
    sharedUnit(writeOneUnit, trips(), optionsOf(n, more), (session) =>
      session.query<{ n: number }>('insert into notes (n) values ($1) returning n', [n]),
    );
  /** The statement is known on the connection, as it must be to travel with others. */
  const learnToNote = () => note(0);
  const notes = async () => {
    const rows = await database.superuser<{ n: number; tenant: string; xid: string }>(
      'select n, tenant, xid::text from shared.notes where n > 0 order by n',
    );
    return { numbers: rows.map(({ n }) => n), rows, commits: new Set(rows.map(({ xid }) => xid)).size };
  };

  it('share commits; each is of its own tenant, gets its own answer and is told a position behind its commit', async () => {
    await learnToNote();
    const told: (bigint | undefined)[] = [];
    const answers = await Promise.all(
      many.map((n) => note(n, { committed: (at) => void told.push(at?.lsn) })),
    );
    expect(answers.map(([row]) => row?.n)).toEqual(many);
    const { numbers, rows, commits } = await notes();
    expect(numbers).toEqual(many);
    expect(rows.map(({ tenant }) => tenant)).toEqual(many.map((n) => optionsOf(n).tenant?.id));
    expect(commits).toBeLessThan(many.length / 2);
    expect(told.filter((lsn) => lsn !== undefined && lsn > 0n)).toHaveLength(many.length);
    expect(pool.figures()).toMatchObject({ inUse: 0, waiting: 0, tainted: 0 });
  });

  it('fail alone, and the others are kept once', async () => {
    await learnToNote();
    await database.superuser('insert into shared.notes (n) select unnest(array[3, 17, 18])');
    const committed = () => {
      throw new Error('it was not');
    };
    const outcomes = await Promise.allSettled(
      many.map((n) => note(n, [3, 17, 18].includes(n) ? { committed } : {})),
    );
    const failed = many.filter((n) => outcomes[n - 1]?.status === 'rejected');
    expect(failed).toEqual([3, 17, 18]);
    for (const n of failed) expect(outcomes[n - 1]).toMatchObject({ reason: { code: 'conflict' } });
    expect((await notes()).numbers).toEqual(many);
    expect(pool.figures().tainted).toBe(0);
  });

  it('meet what is deferred each as its own tenant', async () => {
    await database.superuser(`
      create table shared.late_notes (n int, tenant text);
      create function shared.note_late() returns trigger language plpgsql security definer as $$
        begin insert into shared.late_notes
          values (new.n, current_setting('app.tenant_id', true)); return null; end $$;
      create constraint trigger note_late after insert on shared.notes
        deferrable initially deferred for each row execute function shared.note_late()`);
    await learnToNote();
    await Promise.all(many.map((n) => note(n)));
    const late = await database.superuser<{ n: number; tenant: string }>(
      'select n, tenant from shared.late_notes where n > 0 order by n',
    );
    expect(late).toEqual(many.map((n) => ({ n, tenant: optionsOf(n).tenant?.id })));
    expect((await notes()).commits).toBeLessThan(many.length / 2);
    await database.superuser('drop function shared.note_late cascade; drop table shared.late_notes');
  });

  it('fail alone with a value that cannot be sent', async () => {
    await learnToNote();
    const loop: unknown[] = [];
    loop.push({ loop });
    const unsendable = () =>
      writeOne((session) => session.query('insert into notes (n) values ($1) returning n', [loop[0]]));
    const outcomes = await Promise.allSettled([note(1), unsendable(), note(2)]);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect((await notes()).numbers).toEqual([1, 2]);
  });

  it('do not wait for what one of them waits for', async () => {
    await pool.end();
    pool = poolOf(2);
    await pool.ask('select 1');
    await Promise.all([note(41), note(42)]);
    await withConnection(database.superuserUrl(), async (client) => {
      await client.query('begin; insert into shared.notes (n) values (1)');
      let waiting = true;
      const blocked = note(1).finally(() => {
        waiting = false;
      });
      await Promise.all(many.filter((n) => n > 1).map((n) => note(n)));
      expect(waiting).toBe(true);
      await client.query('rollback');
      await blocked;
    });
    expect((await notes()).numbers).toEqual([...many, 41, 42]);
  });

  it('that lose their connection are all told so', async () => {
    await database.superuser(`
      create function shared.nap() returns trigger language plpgsql as $$
        begin if new.n = 2 then perform pg_sleep(30); end if; return new; end $$;
      create trigger nap before insert on shared.notes for each row execute function shared.nap()`);
    await learnToNote();
    const lost = Promise.allSettled([note(1), note(2), note(3)]);
    await until(async () => {
      const ended = await database.superuser(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where usename = 'tenantry_app' and wait_event = 'PgSleep'`,
      );
      return ended.length > 0;
    }, 'the backend to be terminated');
    for (const outcome of await lost) expect(outcome).toMatchObject({ reason: { code: 'unavailable' } });
    expect((await notes()).numbers).toEqual([]);
    await database.superuser('drop function shared.nap cascade');
  });
});

describe('who needs a connection for a whole transaction', () => {
  it('gets one between reads that never cease', async () => {
    let going = true;
    const reading = many.map(async (n) => {
      for (;;) {
        await read(n, look);
        if (!going) return;
      }
    });
    for (let n = 1; n <= 5; n += 1) {
      await pool.withLease((lease) => writeUnit(lease, optionsOf(1), insert(n)));
    }
    going = false;
    await Promise.all(reading);
    expect(await numbers()).toEqual([1, 2, 3, 4, 5]);
  });
});

it('reads get a connection between transactions that never cease', async () => {
  let going = true;
  const writing = many.map(async (n) => {
    for (;;) {
      await pool.withLease((lease) => writeUnit(lease, optionsOf(n), look));
      if (!going) return;
    }
  });
  for (let round = 0; round < 5; round += 1) expect((await read(7, look))?.tenant).toMatch(/7$/);
  going = false;
  await Promise.all(writing);
});

it('no more than a bounded number waits', async () => {
  const holding = read(1, (session) => session.query('select pg_sleep(0.5)'));
  const outcomes = await Promise.allSettled(Array.from({ length: 150 }, () => read(2, look)));
  const refused = outcomes.filter(({ status }) => status === 'rejected');
  expect(refused.length).toBeGreaterThan(0);
  expect(refused.length).toBeLessThan(60);
  for (const { reason } of refused as PromiseRejectedResult[]) {
    expect(reason).toMatchObject({ code: 'unavailable', retryAfterS: 1 });
  }
  await holding;
});
