import { beforeAll, describe, expect, it } from '@jest/globals';
import type { TenantScope } from '../../src/db/index.ts';
import { AppError } from '../../src/errors.ts';
import { withConnection } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { onPort } from '../support/http.ts';
import { outcomeOf } from '../support/outcome.ts';
import { password, replicasFresh, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

const database = useDatabase();
const service = useTenantry(database, { env: { DATABASE_POOL_MAX: '3' } });
const hurried = useTenantry(database, { env: { REQUEST_DEADLINE_MS: '400' } });

let tenant: TestTenant;
beforeAll(async () => {
  tenant = await service.onboard('cancels', 'schema');
  await database.caughtUp();
  await replicasFresh(service);
});

const insertion = `insert into products (tenant_id, id, sku, name, price_cents, currency, stock)
  values ($1, gen_random_uuid(), $2, 'x', 1, 'USD', 1)`;

/** Longer than a test: nothing that ends in time has slept to its end. */
const long = 'select pg_sleep(25)';

function scopeWith(signal: AbortSignal, kind: 'strong' | 'any' = 'strong'): TenantScope {
  return { ...tenant.scope, consistency: { level: { kind } }, signal };
}

/** How many statements like this one run or wait on the primary. */
async function running(pattern: string): Promise<number> {
  const [row] = await database.superuser<{ n: number }>(
    `select count(*)::int as n from pg_stat_activity
     where datname = current_database() and state <> 'idle' and query like $1 and pid <> pg_backend_pid()`,
    [pattern],
  );
  return row?.n ?? 0;
}

const tainted = () => service.tenantry.data.db.nodes().reduce((sum, { pool }) => sum + pool.tainted, 0);

const productsWith = (sku: string) =>
  database.superuser('select id from tenant_cancels.products where sku = $1', [sku]);

describe('a unit of work that nobody waits for any more', () => {
  it.each(['strong', 'any'] as const)(
    'is cancelled at the server, its connection thrown away (%s)',
    async (kind) => {
      const { db } = service.tenantry.data;
      const caller = new AbortController();
      const before = tainted();
      const outcome = outcomeOf(() =>
        db.read(scopeWith(caller.signal, kind), (session) => session.query(long)),
      );
      const startedMs = performance.now();
      setTimeout(() => caller.abort(), 150);
      expect(await outcome).toBe('client_closed_request');
      expect(performance.now() - startedMs).toBeLessThan(5000);
      expect(await running('select pg_sleep(25)%')).toBe(0);
      expect(tainted()).toBe(before + 1);
      expect(
        await db.read(scopeWith(new AbortController().signal, kind), (s) => s.query('select 1 as n')),
      ).toEqual([{ n: 1 }]);
    },
  );

  it('ends with the reason that it is told', async () => {
    const { db } = service.tenantry.data;
    const signal = AbortSignal.abort(new AppError('timeout', 'Too late.'));
    const reading = db.read(scopeWith(signal), (session) => session.query(long));
    await expect(reading).rejects.toMatchObject({
      code: 'timeout',
      message: 'Too late.',
      cause: { code: '57014' },
    });
  });

  it('keeps nothing of a transaction, and no locks', async () => {
    const { db } = service.tenantry.data;
    const caller = new AbortController();
    const writing = db.write(scopeWith(caller.signal), async (session) => {
      await session.query(insertion, [tenant.id, 'HALF']);
      setTimeout(() => caller.abort(), 150);
      await session.query(long);
    });
    await expect(writing).rejects.toMatchObject({ code: 'client_closed_request' });
    expect(await productsWith('HALF')).toEqual([]);
    await db.write(tenant.scope, (session) => session.query(insertion, [tenant.id, 'HALF']));
    expect(await productsWith('HALF')).toHaveLength(1);
  });

  it('is let run when it is nearly done, and a write of one statement always', async () => {
    const { db } = service.tenantry.data;
    const before = tainted();
    const gone = scopeWith(AbortSignal.abort());
    expect(await db.read(gone, (session) => session.query('select 1 as n'))).toEqual([{ n: 1 }]);
    await db.writeOne(gone, (session) =>
      session.query(insertion.replace("'x'", 'pg_sleep(0.4)::text'), [tenant.id, 'WHOLE']),
    );
    expect(await productsWith('WHOLE')).toHaveLength(1);
    expect(tainted()).toBe(before);
  });

  it('sends nothing when its caller left while it waited for a connection', async () => {
    const { db } = service.tenantry.data;
    const staying = scopeWith(new AbortController().signal);
    const holding = Array.from({ length: 3 }, () =>
      db.read(staying, (session) => session.query('select pg_sleep(0.6)')),
    );
    await until(() => db.nodes().find(({ role }) => role === 'primary')?.pool.inUse === 3);
    const caller = new AbortController();
    let spent = 0;
    const leaving = scopeWith(caller.signal);
    const noting = { ...leaving.consistency, spent: () => void (spent += 1) };
    const reading = db.read({ ...leaving, consistency: noting }, (session) => session.query('select 1'));
    let begun = false;
    const writing = db.write(leaving, async () => {
      begun = true;
    });
    caller.abort();
    await expect(reading).rejects.toMatchObject({ code: 'client_closed_request' });
    await expect(writing).rejects.toMatchObject({ code: 'client_closed_request' });
    await Promise.all(holding);
    expect([spent, begun]).toEqual([0, false]);
  });

  it('never takes another one with it, however close its end is', async () => {
    const { db } = service.tenantry.data;
    const before = tainted();
    const doomed = async (n: number) => {
      const caller = new AbortController();
      // It ends by itself after 200 ms, at about the time at which it is cancelled.
      setTimeout(() => caller.abort(), 185 + (n % 30));
      return outcomeOf(() => db.read(scopeWith(caller.signal), (s) => s.query('select pg_sleep(0.2)')));
    };
    const innocent = () => db.read(tenant.scope, (session) => session.query('select pg_sleep(0.01)'));
    const outcomes = await Promise.all(
      Array.from({ length: 90 }, async (_, n) => {
        const outcome = await doomed(n);
        await innocent();
        await innocent();
        return outcome;
      }),
    );
    const cancelled = outcomes.filter((outcome) => outcome === 'client_closed_request').length;
    expect(cancelled).toBeGreaterThan(0);
    expect(outcomes.filter((outcome) => Array.isArray(outcome)).length).toBe(outcomes.length - cancelled);
    expect(tainted()).toBeGreaterThan(before);
  });
});

describe('a request', () => {
  /** Runs `fn` while nobody can read the tenant's users, who are read at the primary. */
  async function whileLocked(fn: () => Promise<void>): Promise<void> {
    await withConnection(database.superuserUrl(), async (client) => {
      await client.query('begin; lock table tenant_cancels.users');
      await fn(); // the end of the connection rolls back
    });
  }

  const waiting = async () => {
    const [row] = await database.superuser<{ n: number }>(
      `select count(*)::int as n from pg_stat_activity
       where datname = current_database() and wait_event_type = 'Lock' and application_name = 'tenantry'`,
    );
    return row?.n ?? 0;
  };

  it('whose client goes away is not worked for any more', async () => {
    await onPort(service.tenantry.tenantApp, (baseUrl) =>
      whileLocked(async () => {
        const client = new AbortController();
        const headers = { Authorization: `Bearer ${tenant.token}` };
        const answer = fetch(`${baseUrl}/v1/me`, { headers, signal: client.signal });
        const refused = expect(answer).rejects.toThrow();
        await until(async () => (await waiting()) > 0, 'the read to wait');
        client.abort();
        await refused;
        // Before the lock time-out of 5 s would have ended it.
        await until(async () => (await waiting()) === 0, 'the read to be cancelled', 3000);
      }),
    );
  });

  it('that takes longer than REQUEST_DEADLINE_MS is answered with 504', async () => {
    const client = await hurried.login(tenant.slug, tenant.ownerEmail, password);
    await whileLocked(async () => {
      const answer = await client.get('/v1/me').expect(504);
      expect(answer.body).toMatchObject({ code: 'timeout', detail: 'The request took too long.' });
      expect(await waiting()).toBe(0);
    });
    await client.get('/v1/me').expect(200);
  });
});
