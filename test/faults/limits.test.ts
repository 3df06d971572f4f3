import { beforeAll, describe, expect, it, jest } from '@jest/globals';
import type { Answer } from '../support/http.ts';
import { clientWithToken, onPort } from '../support/http.ts';
import { withConnection } from '../support/connection.ts';
import { useCluster } from '../support/own-cluster.ts';
import { sqlStateOf } from '../support/outcome.ts';
import {
  replicasFresh,
  startTenantry,
  type TestTenant,
  type TestTenantry,
  useTenantry,
} from '../support/tenantry.ts';
import { expectGreen } from '../support/traffic.ts';
import { until } from '../support/until.ts';

jest.setTimeout(60_000);

const own = useCluster({ replicas: 1 });
const service = useTenantry(own.database);

let tenant: TestTenant;
let neighbour: TestTenant;
beforeAll(async () => {
  tenant = await service.onboard('limits', 'schema');
  neighbour = await service.onboard('neighbour', 'schema');
  await own.cluster.caughtUp();
  await replicasFresh(service);
});

const product = () => ({ sku: `l-${Math.random()}`, name: 'x', priceCents: 1, stock: 1 });

/** A service of its own, whose connections to the primary have these parameters. */
async function withParameters(
  parameters: string,
  env: Record<string, string>,
  fn: (limited: TestTenantry) => Promise<void>,
): Promise<void> {
  const url = `${own.database.env()['DATABASE_URL']}?${parameters}`;
  const limited = await startTenantry(own.database, { env: { DATABASE_URL: url, ...env } });
  try {
    await replicasFresh(limited);
    await fn(limited);
    await expectGreen(limited, tenant);
  } finally {
    await limited.tenantry.stop();
  }
}

describe('F9: all connections are in use', () => {
  it('a bounded number waits, at most for the time-out, and the rest is refused at once; no server is taken for lost', async () => {
    await withParameters('', { DATABASE_POOL_MAX: '1' }, async (limited) => {
      const { db } = limited.tenantry.data;
      let release: () => void = () => undefined;
      const released = new Promise<void>((resolve) => {
        release = resolve;
      });
      const holding = db.write(tenant.scope, async (session) => {
        await session.query('select 1');
        await released;
      });
      await until(() => db.nodes()[0]?.pool.inUse === 1);
      try {
        await onPort(limited.tenantry.tenantApp, async (baseUrl) => {
          const client = clientWithToken(baseUrl, tenant.token);
          const times: number[] = [];
          const startedMs = performance.now();
          const write = async (): Promise<Answer> => {
            const answer = await client.post('/v1/products', product());
            times.push(performance.now() - startedMs);
            return answer;
          };
          const writing = Promise.all(Array.from({ length: 130 }, write));
          await until(() => times.length >= 30, 'those beyond the bound to be refused', 4000);
          expect(db.nodes()[0]?.pool.waiting).toBe(50);
          const replica = await client.get('/v1/products');
          expect([replica.status, replica.servedBy.split(';')[0]]).toEqual([200, 'replica-1']);
          expect(db.nodes().map(({ state }) => state)).toEqual(['fresh', 'fresh']);
          for (const { status, headers, body } of await writing) {
            expect([status, body['code'], headers.get('retry-after')]).toEqual([503, 'unavailable', '1']);
          }
          expect(Math.max(...times)).toBeLessThan(7000);
          expect(db.nodes().map(({ state }) => state)).toEqual(['fresh', 'fresh']);
        });
      } finally {
        release();
        await holding;
      }
    });
  });
});

describe('F10: the server has no connection left for the role', () => {
  it('units of work on the connections that there are go on; others are refused at once', async () => {
    await withParameters('', { DATABASE_REPLICA_URLS: '' }, async (limited) => {
      // Its own, and those of the service beside it.
      await own.database.superuser('alter role tenantry_app connection limit 1');
      try {
        const client = await limited.login(tenant.slug, tenant.ownerEmail, 'a password of tests');
        const startedMs = performance.now();
        const answers = await Promise.all(
          Array.from({ length: 30 }, () => client.post('/v1/products').send(product())),
        );
        expect(performance.now() - startedMs).toBeLessThan(4000);
        const refused = answers.filter(({ status }) => status !== 201);
        // Maybe none: writes that wait at once share the connection that there is.
        expect(refused.length).toBeLessThan(30);
        for (const { status, headers } of refused)
          expect([status, headers['retry-after']]).toEqual([503, '1']);
      } finally {
        await own.database.superuser('alter role tenantry_app connection limit -1');
      }
    });
  });
});

describe('time limits', () => {
  /** Runs `fn` while nobody else may touch the tenant's products. */
  const whileLocked = <T>(fn: () => Promise<T>): Promise<T> =>
    withConnection(own.database.superuserUrl(), async (superuser) => {
      await superuser.query('begin; lock table tenant_limits.products in exclusive mode');
      return fn(); // the end of the connection rolls back
    });

  it.each([
    ['F11: a statement that takes too long is 504', 'statement_timeout=300&lock_timeout=0', 504, 'timeout'],
    ['F15: a lock that does not come is 503', 'lock_timeout=300', 503, 'unavailable'],
  ])('%s, and only for the tenant concerned', async (_, parameters, status, code) => {
    await withParameters(parameters, {}, async (limited) => {
      const mine = await limited.login(tenant.slug, tenant.ownerEmail, 'a password of tests');
      const theirs = await limited.login(neighbour.slug, neighbour.ownerEmail, 'a password of tests');
      await whileLocked(async () => {
        const startedMs = performance.now();
        const waiting = Promise.all(
          Array.from({ length: 5 }, () => mine.post('/v1/products').send(product())),
        );
        await theirs.post('/v1/products').send(product()).expect(201);
        for (const answer of await waiting) expect(answer.body).toMatchObject({ status, code });
        expect(performance.now() - startedMs).toBeLessThan(3000);
        await mine.get('/v1/products').expect(200);
      });
      await mine.post('/v1/products').send(product()).expect(201);
      // The statements were refused; the connections are as good as before.
      expect(limited.tenantry.data.db.nodes()[0]?.pool.tainted).toBe(0);
    });
  });

  it('F12: a unit of work that does nothing for too long is ended by the server, with its connection', async () => {
    await withParameters('idle_in_transaction_session_timeout=200', {}, async (limited) => {
      const { db } = limited.tenantry.data;
      let pid = 0;
      const idling = db.write(tenant.scope, async (session) => {
        const [row] = await session.query<{ pid: number }>('select pg_backend_pid() as pid');
        pid = row?.pid ?? 0;
        await session.query(`update products set stock = 77`);
        await until(async () => {
          const rows = await own.database.superuser('select from pg_stat_activity where pid = $1', [pid]);
          return rows.length === 0;
        }, 'the server to end it');
        return session.query('select 1');
      });
      await expect(idling).rejects.toMatchObject({ code: 'unavailable', retryAfterS: 1 });
      expect(await own.database.superuser('select from tenant_limits.products where stock = 77')).toEqual([]);
    });
  });
});

describe('F14: writers that cannot be put in an order', () => {
  it('are run again, and each takes effect once', async () => {
    const parameters = `options=${encodeURIComponent('-c default_transaction_isolation=serializable')}`;
    await withParameters(parameters, {}, async (limited) => {
      const { db } = limited.tenantry.data;
      const { body } = await tenant.client
        .post('/v1/products')
        .send({ ...product(), stock: 0 })
        .expect(201);
      const { id } = body as { id: string };
      let runs = 0;
      const raise = () =>
        db.write(tenant.scope, async (session) => {
          runs += 1;
          const [row] = await session.query<{ stock: number }>('select stock from products where id = $1', [
            id,
          ]);
          await session.query('update products set stock = $2 where id = $1', [id, (row?.stock ?? 0) + 1]);
        });
      let done = 0;
      for (let round = 0; round < 10; round += 1) {
        const outcomes = await Promise.allSettled([raise(), raise()]);
        done += outcomes.filter(({ status }) => status === 'fulfilled').length;
        for (const outcome of outcomes) {
          if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'unavailable' });
        }
      }
      expect(runs).toBeGreaterThan(20);
      const rows = await own.database.superuser('select stock from tenant_limits.products where id = $1', [
        id,
      ]);
      expect(rows).toEqual([{ stock: done }]);
    });
  });
});

describe('F23: no room on the disk', () => {
  const sort = `select count(*)::int as n from
    (select g from generate_series(1, 2000000) g order by md5(g::text) offset 1) s`;

  it('fails the statement with 503, and nothing else', async () => {
    await own.database.superuser(`alter role tenantry_app set temp_file_limit = '64kB'`);
    try {
      await withParameters('', {}, async (limited) => {
        const { db } = limited.tenantry.data;
        for (const unit of [db.read, db.write, db.writeOne]) {
          const call = () => unit(tenant.scope, (session) => session.query(sort));
          expect(await sqlStateOf(call)).toBe('53400');
          await expect(call()).rejects.toMatchObject({ code: 'unavailable', retryAfterS: 1 });
        }
        expect(db.nodes()[0]?.pool.tainted).toBe(0);
        await limited.api().get('/readyz').expect(200);
      });
    } finally {
      await own.database.superuser('alter role tenantry_app reset temp_file_limit');
    }
  });
});
