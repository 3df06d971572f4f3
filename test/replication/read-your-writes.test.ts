import { beforeAll, describe, expect, it } from '@jest/globals';
import type request from 'supertest';
import { createTestClock } from '../support/clock.ts';
import { clientWithToken, onPort } from '../support/http.ts';
import { useCluster } from '../support/own-cluster.ts';
import {
  password,
  replicasFresh,
  type TestTenant,
  type TestTenantry,
  useTenantry,
} from '../support/tenantry.ts';
import { until } from '../support/until.ts';

const own = useCluster({ replicas: 1 });

/** Long enough that a paused replica is read for the length of a test by everybody who may. */
const minute = '60000';
const service = useTenantry(own.database, {
  env: { READ_AFTER_WRITE_WINDOW_MS: minute, MAX_REPLICA_LAG_MS: minute },
});

interface Product {
  id: string;
  stock: number;
}

const fromPrimary = 'primary; reason=behind';
const fromReplica = /^replica-1; reason=(fresh|caught-up); lag=\d+$/;
const ofOwnWrite = /^replica-1; reason=caught-up; lag=\d+$/;

async function insert(client: request.Agent, sku: string): Promise<Product> {
  const answer = await client
    .post('/v1/products')
    .send({ sku, name: sku, priceCents: 100, stock: 1 })
    .expect(201);
  return answer.body as Product;
}

/** Another user of the tenant, who has written nothing. */
async function colleague(of: TestTenantry, tenant: TestTenant, email: string): Promise<request.Agent> {
  await tenant.client.post('/v1/users').send({ email, password }).expect(201);
  return of.login(tenant.slug, email, password);
}

describe.each(['shared', 'schema'] as const)('with replay paused, isolation %s', (isolation) => {
  let tenant: TestTenant;
  let bystander: request.Agent;
  let product: Product;

  beforeAll(async () => {
    tenant = await service.onboard(`writers_${isolation}`, isolation);
    bystander = await colleague(service, tenant, 'bystander@writers.test');
    product = await insert(tenant.client, 'A-1');
    await own.cluster.caughtUp();
    await replicasFresh(service);
  });

  it('the writer reads its write, and another actor of the tenant may read the past', async () => {
    await own.cluster.pauseReplay(0, async () => {
      await tenant.client.patch(`/v1/products/${product.id}`).send({ stock: 7 }).expect(200);
      const created = await insert(tenant.client, 'A-2');

      const mine = await tenant.client.get(`/v1/products/${product.id}`).expect(200);
      expect(mine.headers['served-by']).toBe(fromPrimary);
      expect(mine.body).toMatchObject({ stock: 7 });
      await tenant.client.get(`/v1/products/${created.id}`).expect(200);

      const theirs = await bystander.get(`/v1/products/${product.id}`).expect(200);
      expect(theirs.headers['served-by']).toMatch(fromReplica);
      expect(theirs.body).toMatchObject({ stock: 1 });
      await bystander.get(`/v1/products/${created.id}`).expect(404);
    });
    await own.cluster.caughtUp();
    const later = await bystander.get(`/v1/products/${product.id}`).expect(200);
    expect(later.headers['served-by']).toMatch(fromReplica);
    expect(later.body).toMatchObject({ stock: 7 });
  });

  it('the replica answers the writer as soon as it has the write, and is asked rather than waited for', async () => {
    let stock = 100;
    const pair = async (between: () => Promise<void>) => {
      stock += 1;
      await tenant.client.patch(`/v1/products/${product.id}`).send({ stock }).expect(200);
      await between();
      const { body, headers } = await tenant.client.get(`/v1/products/${product.id}`).expect(200);
      expect(body).toMatchObject({ stock });
      return String(headers['served-by']);
    };
    expect(await pair(() => own.cluster.caughtUp())).toMatch(ofOwnWrite);
    await own.cluster.pauseReplay(0, async () => {
      expect(await pair(async () => undefined)).toBe(fromPrimary);
    });
    // At once: long before the monitor, which asks twice a second, can know that the replica has it.
    await until(
      async () => ofOwnWrite.test(await pair(async () => undefined)),
      'the replica to be read at once',
    );
  });

  it('a write of unknown outcome keeps its actor at the primary, and nobody else', async () => {
    const { slug, client, scope } = await service.onboard(`unlucky_${isolation}`, isolation);
    const other = await colleague(service, { ...tenant, slug, client }, 'other@unlucky.test');
    await own.cluster.caughtUp();
    const servedBy = async (of: request.Agent) =>
      String((await of.get('/v1/products').expect(200)).headers['served-by']);
    expect(await servedBy(client)).toMatch(fromReplica);
    const lost = service.tenantry.data.db.write(scope, (session) =>
      session.query('select pg_terminate_backend(pg_backend_pid())'),
    );
    await expect(lost).rejects.toMatchObject({ code: 'unavailable' });
    await replicasFresh(service);
    expect(await servedBy(client)).toBe('primary; reason=read-after-write');
    await insert(client, 'U-1');
    await own.cluster.caughtUp();
    expect(await servedBy(client)).toBe('primary; reason=read-after-write');
    expect(await servedBy(other)).toMatch(fromReplica);
  });

  it('a write binds its actor and nobody else', async () => {
    const stranger = await service.onboard(`strangers_${isolation}`, isolation);
    await own.cluster.caughtUp();
    await own.cluster.pauseReplay(0, async () => {
      await insert(tenant.client, 'A-5');
      const servedBy = async (client: request.Agent) =>
        (await client.get('/v1/products').expect(200)).headers['served-by'];
      expect(await servedBy(tenant.client)).toBe(fromPrimary);
      expect(await servedBy(bystander)).toMatch(fromReplica);
      expect(await servedBy(stranger.client)).toMatch(fromReplica);
    });
  });

  it('a token carries the position to another actor of the tenant', async () => {
    await own.cluster.caughtUp();
    await own.cluster.pauseReplay(0, async () => {
      const written = await tenant.client
        .post('/v1/products')
        .send({ sku: 'A-6', name: 'x', priceCents: 1, stock: 1 })
        .expect(201);
      const url = `/v1/products/${(written.body as Product).id}`;
      await bystander.get(url).expect(404);
      const token = String(written.headers['consistency-token']);
      const read = await bystander.get(url).set('Consistency-Token', token).expect(200);
      expect(read.headers['served-by']).toBe('primary; reason=behind');
    });
  });

  it('a caller may ask for less, and never for more than the route offers', async () => {
    await own.cluster.caughtUp();
    await own.cluster.pauseReplay(0, async () => {
      const { id } = await insert(tenant.client, 'A-7');
      const read = (level: string) => tenant.client.get(`/v1/products/${id}`).set('Read-Consistency', level);
      const past = await read('any').expect(404);
      expect(past.headers['served-by']).toMatch(/^replica-1; reason=any/);
      await read('bounded; ms=60000').expect(404);
      const bounded = await read('bounded; ms=0').expect(200);
      expect(bounded.headers['served-by']).toBe('primary; reason=no-fresh-replica');
      await read('strong').expect(400);
      await read('bounded').expect(400);
      await read('eventually').expect(400);
    });
  });

  it('a caller that has seen something newer is not shown the past afterwards', async () => {
    const { id } = await insert(tenant.client, 'A-8');
    await own.cluster.caughtUp();
    const newcomer = await colleague(service, tenant, 'newcomer@writers.test');
    await own.cluster.caughtUp();
    await own.cluster.pauseReplay(0, async () => {
      const token = (await tenant.client.patch(`/v1/products/${id}`).send({ stock: 9 }).expect(200)).headers[
        'consistency-token'
      ];
      const url = `/v1/products/${id}`;
      const seen = await newcomer.get(url).set('Consistency-Token', String(token)).expect(200);
      expect(seen.body).toMatchObject({ stock: 9 });
      const again = await newcomer.get(url).expect(200);
      expect(again.body).toMatchObject({ stock: 9 });
      expect(again.headers['served-by']).toBe('primary; reason=behind');
    });
  });

  it('nothing is decided from the past: an order takes stock that the replica has never seen', async () => {
    await own.cluster.pauseReplay(0, async () => {
      const { id } = await insert(tenant.client, 'A-4');
      const order = await bystander
        .post('/v1/orders')
        .send({ lines: [{ productId: id, quantity: 1 }] })
        .expect(201);
      expect(order.headers['served-by']).toBe('primary; reason=write');
    });
  });
});

it('of 1,000 pairs of a write and a read by 20 actors at once, with replay paused, no read misses its write', async () => {
  const tenants = [
    await service.onboard('pairs_shared', 'shared'),
    await service.onboard('pairs_other', 'shared'),
    await service.onboard('pairs_schema', 'schema'),
    await service.onboard('pairs_schema_2', 'schema'),
  ];
  const actors = await Promise.all(
    Array.from({ length: 20 }, async (_, n) => {
      const { slug, client } = tenants[n % tenants.length] ?? missing();
      const email = `actor-${n}@pairs.test`;
      await client.post('/v1/users').send({ email, password }).expect(201);
      const answer = await service
        .api()
        .post('/v1/auth/login')
        .set('X-Tenant-ID', slug)
        .send({ email, password })
        .expect(200);
      return { n, token: (answer.body as { accessToken: string }).accessToken };
    }),
  );
  const idle = await colleague(service, tenants[2] ?? missing(), 'idle@pairs.test');
  await own.cluster.caughtUp();
  await replicasFresh(service);

  const misses: string[] = [];
  let pairs = 0;
  let oldReads = 0;
  await own.cluster.pauseReplay(0, () =>
    onPort(service.tenantry.tenantApp, async (baseUrl) => {
      const pairsOf = async ({ n, token }: (typeof actors)[number]) => {
        const client = clientWithToken(baseUrl, token);
        let product: Product | undefined;
        for (let round = 0; round < 50; round += 1) {
          const wanted = { sku: `${n}-${round % 25}`, stock: round };
          const written =
            product === undefined || round < 25
              ? await client.post<Product>('/v1/products', { ...wanted, name: 'x', priceCents: 1 })
              : await client.patch<Product>(`/v1/products/${product.id}`, { stock: round });
          if (written.status >= 300) throw new Error(`The write was answered with ${written.status}`);
          product = written.body;
          const read = await client.get<Product>(`/v1/products/${product.id}`);
          pairs += 1;
          if (read.status !== 200 || read.body.stock !== round) {
            misses.push(`actor ${n}, round ${round}: ${read.status} from ${read.servedBy}`);
          }
        }
      };
      // Beside them somebody who writes nothing: that the replica is in use, and is behind, is not left to chance.
      const over = new AbortController();
      const watching = (async () => {
        while (!over.signal.aborted) {
          const { headers, body } = await idle.get('/v1/products?limit=1').expect(200);
          expect(headers['served-by']).toMatch(fromReplica);
          expect(body).toMatchObject({ data: [] });
          oldReads += 1;
        }
      })();
      await Promise.all(actors.map(pairsOf)).finally(() => over.abort());
      await watching;
    }),
  );
  expect(misses).toEqual([]);
  expect(pairs).toBe(1000);
  expect(oldReads).toBeGreaterThan(10);
});

describe('the window', () => {
  const clock = createTestClock();
  const windowed = useTenantry(own.database, {
    env: { READ_AFTER_WRITE_WINDOW_MS: minute, MAX_REPLICA_LAG_MS: minute },
    overrides: { clock },
  });

  it('ends after READ_AFTER_WRITE_WINDOW_MS: then any replica that is fresh will do', async () => {
    const tenant = await windowed.onboard('window', 'shared');
    await own.cluster.caughtUp();
    const product = await insert(tenant.client, 'W-1');
    const read = () => tenant.client.get(`/v1/products/${product.id}`).expect(200);
    await own.cluster.caughtUp();
    clock.advance(30_000);
    await replicasFresh(windowed);
    expect((await read()).headers['served-by']).toMatch(ofOwnWrite);
    clock.advance(61_000);
    await replicasFresh(windowed);
    const later = await read();
    expect(later.headers['served-by']).toMatch(/^replica-1; reason=fresh/);
    expect(later.body).toEqual(product);
  });
});

function missing(): never {
  throw new Error('There is no such tenant');
}
