import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { useCluster } from '../support/own-cluster.ts';
import { type PgBouncers, startPgBouncers } from '../support/pgbouncer.ts';
import { describeWith } from '../support/require-server.ts';
import { replicasFresh, startTenantry, type TestTenant, type TestTenantry } from '../support/tenantry.ts';

describeWith('pgbouncer', 'through PgBouncer in transaction mode', (program) => {
  const own = useCluster({ replicas: 1 });

  describe.each([
    ['that refuses what it does not know', []],
    [
      'that ignores what it does not know',
      ['ignore_startup_parameters = statement_timeout, lock_timeout, idle_in_transaction_session_timeout'],
    ],
  ])('with one connection to each server, and %s', (name, more) => {
    const suffix = name.includes('refuses') ? 'a' : 'b';
    let bouncers: PgBouncers;
    let service: TestTenantry;
    let tenants: TestTenant[];

    beforeAll(async () => {
      const { DATABASE_URL = '', DATABASE_REPLICA_URLS = '' } = own.database.env();
      const direct = [DATABASE_URL, DATABASE_REPLICA_URLS];
      bouncers = await startPgBouncers(program, direct, { poolSize: 1, more });
      const [primary = '', replica = ''] = bouncers.urls;
      // The control plane and migrations stay on DATABASE_ADMIN_URL, which is direct.
      service = await startTenantry(own.database, {
        env: {
          DATABASE_URL: primary,
          DATABASE_REPLICA_URLS: replica,
          DATABASE_PREPARED_STATEMENTS: 'off',
          READ_AFTER_WRITE_WINDOW_MS: '60000',
          MAX_REPLICA_LAG_MS: '60000',
        },
      });
      tenants = [
        await service.onboard(`pooled_one_${suffix}`, 'shared'),
        await service.onboard(`pooled_two_${suffix}`, 'shared'),
        await service.onboard(`pooled_three_${suffix}`, 'schema'),
        await service.onboard(`pooled_four_${suffix}`, 'schema'),
      ];
      await own.cluster.caughtUp();
      await replicasFresh(service);
    });
    afterAll(async () => {
      await service?.tenantry.stop();
      await bouncers?.stop();
    });

    const create = async ({ client }: TestTenant, sku: string, stock = 5) => {
      const { body } = await client
        .post('/v1/products')
        .send({ sku, name: sku, priceCents: 1, stock })
        .expect(201);
      return body as { id: string; sku: string };
    };

    it('every tenant sees its own rows, however their requests mix on one connection', async () => {
      await Promise.all(tenants.map((tenant) => create(tenant, `own-${tenant.slug}`)));
      const rounds = Array.from({ length: 25 }, () => tenants).flat();
      await Promise.all(
        rounds.map(async ({ client, slug }) => {
          const { body } = await client.get('/v1/products').expect(200);
          const { data } = body as { data: { sku: string }[] };
          expect(data.map(({ sku }) => sku)).toEqual([`own-${slug}`]);
        }),
      );
      const left = service.tenantry.data.db.nodes().map(({ pool }) => pool.tainted);
      expect(left).toEqual([0, 0]);
    });

    it('a caller reads what it wrote, at the primary while the replica is behind and at the replica after', async () => {
      const [tenant] = tenants as [TestTenant];
      const { id } = await own.cluster.pauseReplay(0, async () => {
        const created = await create(tenant, 'mine');
        const read = await tenant.client.get(`/v1/products/${created.id}`).expect(200);
        expect(read.headers['served-by']).toMatch(/^primary; reason=behind/);
        return created;
      });
      await own.cluster.caughtUp();
      const later = await tenant.client.get(`/v1/products/${id}`).expect(200);
      expect(later.headers['served-by']).toMatch(/^replica-1; reason=caught-up/);
    });

    it('a unit of several statements is one transaction: kept as a whole, or not at all', async () => {
      const [, , tenant] = tenants as [TestTenant, TestTenant, TestTenant];
      const { id } = await create(tenant, 'stock', 3);
      const order = (quantity: number) =>
        tenant.client.post('/v1/orders').send({ lines: [{ productId: id, quantity }] });
      const answers = await Promise.all([order(1), order(1), order(1), order(1), order(1)]);
      expect(answers.filter(({ status }) => status === 201)).toHaveLength(3);
      const { body } = await tenant.client.get(`/v1/products/${id}`).expect(200);
      expect(body).toMatchObject({ stock: 0 });
    });

    it('a statement that nobody waits for is cancelled, and no other one', async () => {
      const [tenant] = tenants as [TestTenant];
      const { db } = service.tenantry.data;
      const run = (text: string, signal?: AbortSignal) =>
        db.read({ ...tenant.scope, ...(signal === undefined ? {} : { signal }) }, (session) =>
          session.query(text),
        );
      const long = run('select pg_sleep(14)', AbortSignal.abort());
      const others = Array.from({ length: 20 }, () => run('select pg_sleep(0.01)'));
      await expect(long).rejects.toMatchObject({ code: 'client_closed_request' });
      await Promise.all(others);
      await run('select 1');
    });

    it('time limits are in force, though no connection can be started with them', async () => {
      const [tenant] = tenants as [TestTenant];
      const settings = `select current_setting('statement_timeout') as statement, current_setting('lock_timeout') as lock,
        current_setting('idle_in_transaction_session_timeout') as idle`;
      const wanted = [{ statement: '15s', lock: '5s', idle: '10s' }];
      const { db } = service.tenantry.data;
      expect(await db.read(tenant.scope, (session) => session.query(settings))).toEqual(wanted);
      expect(await db.write(tenant.scope, (session) => session.query(settings))).toEqual(wanted);
    });
  });
});
