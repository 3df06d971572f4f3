import { afterAll, afterEach, beforeAll, expect, it } from '@jest/globals';
import type request from 'supertest';
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
  ): Promise<T> {
    const env = {
      REDIS_URL: redis.url,
      READ_AFTER_WRITE_WINDOW_MS: windowMs,
      MAX_REPLICA_LAG_MS: windowMs,
    };
    const writer = await startTenantry(own.database, { env });
    try {
      const reader = await startTenantry(own.database, { env });
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

  it('is forgotten after one window, keys included', async () => {
    await withTwo(String(shortMs), async (writer, reader) => {
      const tenant = await writer.onboard('redis_window', 'schema');
      await settled(reader);
      await pair(tenant.client, at(reader, tenant), 'W-1');
      const keys = async () => (await redis.command('KEYS', `*${tenant.id}*`)).split('\r\n').length;
      expect(await keys()).toBeGreaterThan(2);
      await until(async () => (await keys()) === 2, 'the keys to be gone'); // an empty list, and what is behind it
    });
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
          return clients.split('name=tenantry').length === 3;
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
      const tenant = await writer.onboard('redis_frozen', 'shared');
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
