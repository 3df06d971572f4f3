import { afterAll, afterEach, beforeAll, expect, it } from '@jest/globals';
import type request from 'supertest';
import type { Overrides } from '../../src/build.ts';
import { createTestClock } from '../support/clock.ts';
import { useCluster } from '../support/own-cluster.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { describeWith } from '../support/require-server.ts';
import {
  password,
  replicasFresh,
  startTenantry,
  type TestTenant,
  type TestTenantry,
} from '../support/tenantry.ts';
import { until } from '../support/until.ts';

/** Replay is paused for the length of a test, and the replica read all the same by everybody who may. */
const minute = '60000';
/** One that ends within a test. */
const shortMs = 1500;
/** For how much longer than the window a position is kept. */
const lossMs = 300_000;

describeWith('redis', 'two processes that share a Redis', (program) => {
  const own = useCluster({ replicas: 1 });
  let redis: RedisServer;

  beforeAll(async () => {
    redis = await startRedis(program);
  });
  // A test that failed may have left it dead.
  afterEach(() => redis.restart());
  afterAll(() => redis.stop());

  async function withTwo<T>(
    windowMs: string,
    fn: (writer: TestTenantry, reader: TestTenantry) => Promise<T>,
    overrides: Overrides = {},
  ): Promise<T> {
    const env = {
      REDIS_URL: redis.url,
      READ_AFTER_WRITE_WINDOW_MS: windowMs,
      MAX_REPLICA_LAG_MS: windowMs,
    };
    const writer = await startTenantry(own.database, { env, overrides });
    try {
      const reader = await startTenantry(own.database, { env, overrides });
      try {
        // The first process that meets a Redis takes it for one that has forgotten everything.
        await redis.command('DEL', 'tenantry:new');
        return await fn(writer, reader);
      } finally {
        await reader.tenantry.stop();
      }
    } finally {
      await writer.tenantry.stop();
    }
  }

  /** The same user at the other process. */
  const at = (process: TestTenantry, { token }: TestTenant) => process.api().auth(token, { type: 'bearer' });

  async function settled(process: TestTenantry): Promise<void> {
    await own.cluster.caughtUp();
    await replicasFresh(process);
  }

  /** Writes at one process, reads at the other. @returns where it was read, and what; undefined when it is not there */
  async function pair(from: request.Agent, to: request.Agent, sku: string) {
    const { body } = await from
      .post('/v1/products')
      .send({ sku, name: sku, priceCents: 1, stock: 1 })
      .expect(201);
    const read = await to.get(`/v1/products/${(body as { id: string }).id}`);
    return { status: read.status, servedBy: String(read.headers['served-by']) };
  }

  it('a write at one of them is seen at the other, and only its actor is kept from the replica', async () => {
    await withTwo(minute, async (writer, reader) => {
      const tenant = await writer.onboard('redis_two', 'shared');
      await tenant.client.post('/v1/users').send({ email: 'idle@redis.test', password }).expect(201);
      const idle = await reader.login(tenant.slug, 'idle@redis.test', password);
      await settled(reader);
      await own.cluster.pauseReplay(0, async () => {
        for (let n = 0; n < 10; n += 1) {
          expect(await pair(tenant.client, at(reader, tenant), `A-${n}`)).toEqual({
            status: 200,
            servedBy: expect.stringMatching(/^primary; reason=behind/),
          });
        }
        const other = await idle.get('/v1/products').expect(200);
        expect(other.headers['served-by']).toMatch(/^replica-1; reason=fresh/);
      });
      // Once the replica has it, the replica answers: what is shared is the position, not just that there was a write.
      await settled(reader);
      await until(async () => {
        const { headers } = await at(reader, tenant).get('/v1/products').expect(200);
        return String(headers['served-by']).startsWith('replica-1; reason=caught-up');
      }, 'the replica to be read');
    });
  });

  const insert = ({ client }: TestTenant) =>
    client.post('/v1/products').send({ sku: 'W-1', name: 'x', priceCents: 1, stock: 1 }).expect(201);

  /** Lets time pass for what Redis knows of the tenant's owner. */
  async function age({ id, scope }: TestTenant, ms: number): Promise<void> {
    const key = `tenantry:wrote:${id}/user/${scope.actor.id}`;
    const leftMs = Number((await redis.command('PTTL', key)).slice(1));
    expect(leftMs).toBeGreaterThan(ms);
    expect(leftMs).toBeLessThanOrEqual(Number(minute) + lossMs);
    expect(await redis.command('PEXPIRE', key, String(leftMs - ms))).toBe(':1\r\n');
  }

  it('is forgotten after one window', async () => {
    await withTwo(minute, async (writer, reader) => {
      const tenant = await writer.onboard('redis_window', 'schema');
      await insert(tenant);
      await settled(reader);
      await age(tenant, 61_000);
      const { headers } = await at(reader, tenant).get('/v1/products').expect(200);
      expect(headers['served-by']).toMatch(/^replica-1; reason=fresh/);
    });
  });

  it('is not forgotten while the primary is lost, however long that takes', async () => {
    const clock = createTestClock();
    await withTwo(
      minute,
      async (writer, reader) => {
        const tenant = await writer.onboard('redis_standstill', 'shared');
        await settled(reader);
        try {
          await own.cluster.pauseReplay(0, async () => {
            await insert(tenant);
            await own.cluster.kill('primary');
            await until(() => reader.tenantry.data.db.nodes()[0]?.state === 'down', 'the loss to be seen');
            clock.advance(61_000);
            await age(tenant, 61_000);
            await at(reader, tenant).get('/v1/products').expect(503);
          });
        } finally {
          await own.cluster.restart('primary');
        }
      },
      { clock },
    );
  });

  it('without Redis nothing fails and no write is missed; with it again, the replica is read again', async () => {
    await withTwo(String(shortMs), async (writer, reader) => {
      const tenant = await writer.onboard('redis_dead', 'shared');
      await settled(reader);
      await redis.kill();
      await own.cluster.delayApply(0, 1000, async () => {
        for (let n = 0; n < 10; n += 1) {
          expect(await pair(tenant.client, at(reader, tenant), `D-${n}`)).toEqual({
            status: 200,
            servedBy: 'primary; reason=read-after-write',
          });
        }
        await redis.restart();
        // It has forgotten the writes above, and those below come while it is found again.
        for (let n = 10; n < 60; n += 1) {
          expect((await pair(tenant.client, at(reader, tenant), `D-${n}`)).status).toBe(200);
        }
      });
      await until(async () => {
        const { headers } = await at(reader, tenant).get('/v1/products').expect(200);
        return String(headers['served-by']).startsWith('replica-1');
      }, 'the replica to be read');
    });
  });

  it('a write that was told to a Redis which has lost its memory is not missed', async () => {
    await withTwo(minute, async (writer, reader) => {
      const tenant = await writer.onboard('redis_amnesia', 'schema');
      await settled(reader);
      await own.cluster.pauseReplay(0, async () => {
        const sent = { sku: 'M-1', name: 'x', priceCents: 1, stock: 1 };
        const { body } = await tenant.client.post('/v1/products').send(sent).expect(201);
        await redis.kill();
        await redis.restart();
        // No read before both have found it again: what a process has read at the primary, it remembers by itself.
        await until(async () => {
          const clients = await redis.command('CLIENT', 'LIST');
          return clients.split('name=tenantry ').length === 3;
        }, 'both processes to be connected');
        await at(reader, tenant)
          .get(`/v1/products/${(body as { id: string }).id}`)
          .expect(200);
      });
    });
  });

  it('nor is one that was told to a Redis which has been flushed', async () => {
    await withTwo(minute, async (writer, reader) => {
      const tenant = await writer.onboard('redis_flushed', 'schema');
      await settled(reader);
      await own.cluster.pauseReplay(0, async () => {
        const sent = { sku: 'M-1', name: 'x', priceCents: 1, stock: 1 };
        const { body } = await tenant.client.post('/v1/products').send(sent).expect(201);
        await redis.command('FLUSHALL');
        await at(reader, tenant)
          .get(`/v1/products/${(body as { id: string }).id}`)
          .expect(200);
      });
    });
  });

  it('with Redis frozen nothing fails, nothing waits long and no write is missed', async () => {
    await withTwo(minute, async (writer, reader) => {
      const tenant = await writer.onboard('redis_frozen', 'shared', { requestsPerMinute: 1000 });
      await settled(reader);
      await own.cluster.pauseReplay(0, async () => {
        await redis.whilePaused(async () => {
          for (let n = 0; n < 10; n += 1) {
            const startedMs = performance.now();
            expect(await pair(tenant.client, at(reader, tenant), `F-${n}`)).toMatchObject({ status: 200 });
            expect(performance.now() - startedMs).toBeLessThan(1000);
          }
        });
        for (let n = 10; n < 60; n += 1) {
          expect((await pair(tenant.client, at(reader, tenant), `F-${n}`)).status).toBe(200);
        }
      });
    });
  });

  it('requests of a tenant and wrong passwords are counted together, and go on being counted without Redis', async () => {
    await withTwo(String(shortMs), async (one, other) => {
      const tenant = await one.onboard('redis_limits', 'shared', { requestsPerMinute: 6 });
      const left = async (process: TestTenantry) => {
        const { headers } = await at(process, tenant).get('/v1/products');
        return Number(/r=(\d+)/.exec(String(headers['ratelimit']))?.[1]);
      };
      expect([await left(one), await left(other), await left(one)]).toEqual([4, 3, 2]);
      const guess = (process: TestTenantry) =>
        process
          .api()
          .post('/v1/auth/login')
          .set('X-Tenant-ID', tenant.slug)
          .send({ email: tenant.ownerEmail, password: 'wrong' });
      for (let n = 0; n < 5; n += 1) {
        await guess(one).expect(401);
        await guess(other).expect(401);
      }
      await guess(one).expect(429);
      expect(await redis.command('KEYS', 'tenantry:*')).not.toContain(tenant.ownerEmail);

      await redis.kill();
      // Each for itself, from the beginning; nobody is refused because Redis is gone.
      expect([await left(one), await left(one), await left(other)]).toEqual([5, 4, 5]);
      await guess(one).expect(401);
      await redis.restart();
      await until(async () => {
        await left(one);
        return (await redis.command('KEYS', 'tenantry:requests:*')) !== '*0\r\n';
      }, 'Redis to count again');
    });
  });

  it('a start without Redis is a start', async () => {
    await redis.kill();
    try {
      await withoutRedis();
    } finally {
      await redis.restart();
    }
    async function withoutRedis() {
      const env = { REDIS_URL: redis.url };
      const late = await startTenantry(own.database, { env });
      try {
        const tenant = await late.onboard('redis_absent', 'shared');
        const { headers } = await tenant.client.get('/v1/products').expect(200);
        expect(headers['served-by']).toBe('primary; reason=read-after-write');
      } finally {
        await late.tenantry.stop();
      }
    }
  });
});
