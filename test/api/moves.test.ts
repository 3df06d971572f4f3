import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { pino } from 'pino';
import { build } from '../../src/build.ts';
import { isolationRules } from '../../src/control/isolation-rules.ts';
import type { Step } from '../../src/control/tenants/service.ts';
import { catalogOutline } from '../support/catalog.ts';
import { useDatabase } from '../support/database.ts';
import { createHoldings } from '../support/holdings.ts';
import { clientWithToken, createClient, onPort } from '../support/http.ts';
import { guards, moveTo, otherOf, placeOf, requestMove, rowsIn } from '../support/moving.ts';
import { expectProblem } from '../support/problem.ts';
import { ended } from '../support/purging.ts';
import { expectSameRows, othersRows } from '../support/rows.ts';
import { testConfig, useTenantry } from '../support/tenantry.ts';
import { underTraffic } from '../support/traffic.ts';
import { until } from '../support/until.ts';

jest.setTimeout(90_000);

const database = useDatabase();
let onStep: Step = () => undefined;
const service = useTenantry(database, { overrides: { step: (name) => onStep(name) } });
afterEach(() => {
  onStep = () => undefined;
});

const at = (name: string, action: string) => `/admin/v1/tenants/${name}/${action}`;
const product = (sku: string) => ({ sku, name: sku, priceCents: 1, stock: 1 });
const actions = async (id: string) => {
  const rows = await database.superuser<{ action: string }>(
    'select action from control.audit_events where tenant = $1 order by created_at',
    [id],
  );
  return rows.map(({ action }) => action);
};

describe.each(['shared', 'schema'] as const)('a tenant that was made with isolation %s', (isolation) => {
  const target = otherOf(isolation);

  it('is moved with all that it holds, and what was left goes when that is confirmed', async () => {
    const tenant = await service.onboard(`mover_${isolation}`, isolation);
    const [from, to] = [placeOf(tenant.slug, isolation), placeOf(tenant.slug, target)];
    const held = await createHoldings(tenant);
    const once = () =>
      tenant.client.post('/v1/products').set('Idempotency-Key', 'moved').send(product('moved')).expect(201);
    const { text } = await once();
    const before = await rowsIn(database, from, tenant.id);
    const others = await othersRows(database, tenant.id);
    const result = await moveTo(service, tenant, target);
    expect(result).toMatchObject({ from, to });
    expect(await rowsIn(database, to, tenant.id)).toEqual(before);
    expect(await rowsIn(database, from, tenant.id)).toEqual(before);
    expectSameRows(await othersRows(database, tenant.id), others);
    const { body } = await service.operator().get(`/admin/v1/tenants/${tenant.slug}`).expect(200);
    expect(body).toMatchObject({
      status: 'active',
      isolation: target,
      movedFrom: { schema: from, at: expect.stringMatching(/Z$/) },
    });

    // The old credentials do, and what is written now is at the new place alone.
    await until(async () => (await tenant.client.post('/v1/products').send(product('new'))).status === 201);
    await tenant.client.get(`/v1/orders/${held.orders.live}`).expect(200);
    expect((await once()).text).toBe(text);
    expect(await rowsIn(database, from, tenant.id)).toEqual(before);

    await database.superuser(
      `update control.tenants set moved_at = moved_at - interval '1 minute' where id = $1`,
      [tenant.id],
    );
    const confirmed = await service.operator().post(at(tenant.slug, 'move/confirm')).expect(202);
    expect(await ended(service, (confirmed.body as { id: string }).id)).toMatchObject({
      status: 'succeeded',
      result: { removed: from },
    });
    expect(await rowsIn(database, from, tenant.id)).toEqual([]);
    expect(await database.superuser('select from pg_namespace where nspname = $1', [from])).toHaveLength(
      from === 'shared' ? 1 : 0,
    );
    expect(await guards(database, tenant.id)).toEqual([]);
    expectSameRows(await othersRows(database, tenant.id), others);
    await tenant.client.get('/v1/products').expect(200);
    expect(await actions(tenant.id)).toEqual([
      ...[
        'tenants.create',
        'tenants.move',
        'tenants.moved',
        'tenants.move_confirm',
        'tenants.move_confirmed',
      ],
    ]);
    expectProblem(await service.operator().post(at(tenant.slug, 'move/confirm')), 409, 'illegal_state', []);
  });

  it('goes on working: nothing acknowledged is lost, reads never fail, writes wait a moment', async () => {
    const tenant = await service.onboard(`busy_${isolation}`, isolation);
    const { body } = await tenant.client.post('/v1/products').send(product('counted')).expect(201);
    const counted = `/v1/products/${(body as { id: string }).id}`;
    let acknowledged = 1;
    const over = new AbortController();
    const traffic = await underTraffic(service, tenant, async (seen) => {
      await onPort(service.tenantry.tenantApp, async (baseUrl) => {
        const client = clientWithToken(baseUrl, tenant.token);
        const counting = (async () => {
          while (!over.signal.aborted) {
            const {
              status,
              body: answer,
              headers,
            } = await client.patch(counted, { stock: acknowledged + 1 });
            if (status === 200) acknowledged += 1;
            else {
              expect({ status, code: answer['code'] }).toEqual({ status: 503, code: 'tenant_moving' });
              expect(headers.get('retry-after')).toBe('1');
            }
          }
        })();
        await moveTo(service, tenant, target);
        await seen.more('write 201', 10);
        over.abort();
        await counting;
      });
    });
    expect(Object.keys(traffic.answers).toSorted()).toEqual(
      ['own read 200', 'read 200', 'write 201', 'write 503 tenant_moving'].toSorted(),
    );
    await tenant.client.get(counted).expect(200);
    const rows = await rowsIn(database, placeOf(tenant.slug, target), tenant.id);
    const products = rows.filter(({ place }) => place === 'products').map(({ row }) => row);
    expect(products.find(({ sku }) => sku === 'counted')).toMatchObject({ stock: acknowledged });
    expect(new Set(products.map(({ id }) => id))).toEqual(
      new Set([counted, ...traffic.written].map((path) => path.split('/').at(-1))),
    );
  });

  it('cannot be written at the old place by a process that has not heard of the move', async () => {
    const tenant = await service.onboard(`unheard_${isolation}`, isolation);
    const from = placeOf(tenant.slug, isolation);
    let standsMs: number | undefined;
    const clock = { nowMs: () => Date.now(), monotonicMs: () => standsMs ?? performance.now() };
    const logger = pino({ level: 'silent' });
    const other = build(testConfig(database, { DATABASE_ADMIN_URL: '' }), { logger, clock });
    await other.start();
    try {
      await onPort(other.tenantApp, async (baseUrl) => {
        const client = clientWithToken(baseUrl, tenant.token);
        expect((await client.post('/v1/products', product('before'))).status).toBe(201);
        const old = await other.data.directory.find(tenant.slug);
        other.data.db.lookUp = () => Promise.reject(new Error('it hears nothing'));
        standsMs = performance.now(); // or it would serve nobody after 15 s
        await moveTo(service, tenant, otherOf(isolation));
        const before = await rowsIn(database, from, tenant.id);
        const refused = await client.post('/v1/products', product('lost'));
        expect(await other.data.directory.find(tenant.slug)).toBe(old);
        expect({ status: refused.status, code: refused.body['code'] }).toEqual({
          status: 503,
          code: 'tenant_moving',
        });
        expect((await client.get('/v1/products')).status).toBe(200);
        expect(await rowsIn(database, from, tenant.id)).toEqual(before);
      });
    } finally {
      await other.stop();
    }
  });

  it('is read where it is written, also by a process that hears of the move last', async () => {
    const tenant = await service.onboard(`late_${isolation}`, isolation);
    const other = build(testConfig(database, { DATABASE_ADMIN_URL: '' }), {
      logger: pino({ level: 'silent' }),
    });
    await other.start();
    try {
      await onPort(other.tenantApp, async (baseUrl) => {
        // It has heard a moment before the flip, and asks again as late as it may.
        onStep = async (name) => {
          if (name !== 'move: verified') return;
          await other.data.directory.refresh();
          expect((await other.data.directory.find(tenant.slug))?.tenant.isolation).toBe(isolation);
        };
        await moveTo(service, tenant, target);
        let answer = await tenant.client.post('/v1/products').send(product('first'));
        while (answer.status !== 201)
          answer = await tenant.client.post('/v1/products').send(product('first'));
        const { id } = answer.body as { id: string };
        const client = createClient(baseUrl, {
          Authorization: `Bearer ${tenant.token}`,
          'Consistency-Token': String(answer.headers['consistency-token']),
        });
        expect(await client.get(`/v1/products/${id}`)).toMatchObject({ status: 200 });
      });
    } finally {
      await other.stop();
    }
  });

  it('waits for a write that began before the fence, and takes it along', async () => {
    const tenant = await service.onboard(`slow_${isolation}`, isolation);
    const { db } = service.tenantry.data;
    let finishWrite: () => void = () => undefined;
    const finished = new Promise<void>((resolve) => (finishWrite = resolve));
    let writing: Promise<void> | undefined;
    const written = new Promise<void>((resolve) => {
      onStep = async (name) => {
        if (name !== 'move: caught up' || writing !== undefined) return;
        writing = db.write(tenant.scope, async (session) => {
          await session.query(
            `insert into products (tenant_id, id, sku, name, price_cents, currency, stock)
             values ($1, gen_random_uuid(), 'late', 'late', 1, 'USD', 1)`,
            [tenant.id],
          );
          resolve();
          await finished;
        });
        await written;
      };
    });
    const { id } = await requestMove(service, tenant.slug, target);
    await written;
    await until(async () => (await database.superuser(waiting)).length > 0, 'the fence to wait');
    expectProblem(await tenant.client.post('/v1/products').send(product('x')), 503, 'tenant_moving', []);
    await tenant.client.get('/v1/products').expect(200);
    finishWrite();
    await writing;
    expect(await ended(service, id)).toMatchObject({ status: 'succeeded' });
    const skus = (await rowsIn(database, placeOf(tenant.slug, target), tenant.id)).map(
      ({ row }) => row['sku'],
    );
    expect(skus).toContain('late');
    expect(skus).not.toContain('x');
  });

  it('stays where it is when the move is cancelled, and nothing is left', async () => {
    const tenant = await service.onboard(`stays_${isolation}`, isolation);
    await createHoldings(tenant);
    const from = placeOf(tenant.slug, isolation);
    const rows = await rowsIn(database, from, tenant.id);
    let job = '';
    let cancelled = false;
    onStep = async (name) => {
      if (name !== 'move: caught up' || cancelled) return;
      cancelled = true;
      await until(() => job !== '');
      await service.operator().post(`/admin/v1/jobs/${job}/cancel`).expect(202);
    };
    job = (await requestMove(service, tenant.slug, target)).id;
    expect(await ended(service, job)).toMatchObject({ status: 'cancelled' });
    const status = async () => {
      const { body } = await service.operator().get(`/admin/v1/tenants/${tenant.slug}`).expect(200);
      return body as { status: string; isolation: string };
    };
    await until(async () => (await status()).status === 'active', 'the tenant to be what it was', 20_000);
    expect(await status()).toMatchObject({ isolation });
    expect(await rowsIn(database, from, tenant.id)).toEqual(rows);
    expect(await rowsIn(database, placeOf(tenant.slug, target), tenant.id)).toEqual([]);
    expect(await guards(database, tenant.id)).toEqual([]);
    await tenant.client.post('/v1/products').send(product('after')).expect(201);
    expect(await actions(tenant.id)).toContain('tenants.move_rolled_back');
  });

  it('moves there and back, without confirming, with what changed in between', async () => {
    const tenant = await service.onboard(`back_${isolation}`, isolation);
    const { body } = await tenant.client.post('/v1/products').send(product('a')).expect(201);
    await moveTo(service, tenant, target);
    // What is unique changes hands.
    const { id } = body as { id: string };
    await until(async () => (await tenant.client.delete(`/v1/products/${id}`)).status === 204);
    await tenant.client.post('/v1/products').send(product('a')).expect(201);
    const before = await rowsIn(database, placeOf(tenant.slug, target), tenant.id);
    await moveTo(service, tenant, isolation);
    expect(await rowsIn(database, placeOf(tenant.slug, isolation), tenant.id)).toEqual(before);
  });
});

const waiting = `select from pg_locks where locktype = 'advisory' and not granted
  and database = (select oid from pg_database where datname = current_database())`;

it('copies what changes hands while it copies: numbers, deletions and what is unique', async () => {
  const tenant = await service.onboard('swapping', 'shared');
  const [one, two] = await Promise.all(
    ['one', 'two'].map(async (sku) => {
      const { body } = await tenant.client.post('/v1/products').send(product(sku)).expect(201);
      return `/v1/products/${(body as { id: string }).id}`;
    }),
  );
  let done = false;
  onStep = async (name) => {
    if (name !== 'move: copied' || done) return;
    done = true;
    for (const [path, sku] of [
      [one, 'between'],
      [two, 'one'],
      [one, 'two'],
    ] as const) {
      await tenant.client.patch(String(path)).send({ sku }).expect(200);
    }
  };
  await moveTo(service, tenant, 'schema');
  expect(done).toBe(true);
  expect(await rowsIn(database, 'tenant_swapping', tenant.id)).toEqual(
    await rowsIn(database, 'shared', tenant.id),
  );
});

it('makes a schema as good as any other', async () => {
  const tenant = await service.onboard('catalogued', 'shared');
  await moveTo(service, tenant, 'schema');
  for (const [rule, { query }] of Object.entries(isolationRules)) {
    expect({ rule, broken: await database.superuser(query, ['tenant_catalogued']) }).toEqual({
      rule,
      broken: [],
    });
  }
  const outline = (schema: string) => database.superuser(catalogOutline, [schema]);
  expect(await outline('tenant_catalogued')).toEqual(await outline('shared'));
  const stranger = await service.onboard('stranger', 'shared');
  const scope = {
    ...stranger.scope,
    tenant: { ...stranger.scope.tenant, schema: tenant.scope.tenant.schema },
  };
  const seen = await service.tenantry.data.db.read(
    { ...scope, tenant: { ...scope.tenant, schema: 'tenant_catalogued' as typeof scope.tenant.schema } },
    (session) => session.query('select id from users'),
  );
  expect(seen).toEqual([]);
});

describe('what is refused', () => {
  it('is a move to where the tenant is, of one that moves, is deleted or unknown, and a wrong body', async () => {
    const tenant = await service.onboard('immovable', 'shared');
    const move = (name: string, body: object) => service.operator().post(at(name, 'move')).send(body);
    expectProblem(await move('immovable', { isolation: 'shared' }), 409, 'illegal_state', []);
    expectProblem(await move('immovable', { isolation: 'own' }), 400, 'invalid_input', ['/isolation']);
    expectProblem(await move('immovable', {}), 400, 'invalid_input', ['/isolation']);
    expectProblem(await move('nobody', { isolation: 'schema' }), 404, 'not_found', []);
    expectProblem(await service.admin().post(at('immovable', 'move')), 401, 'unauthenticated', []);
    expectProblem(await service.operator().post(at('immovable', 'move/confirm')), 409, 'illegal_state', []);
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    onStep = (name) => (name === 'move: prepared' ? released : undefined);
    const { id } = await requestMove(service, 'immovable', 'schema');
    expectProblem(await move('immovable', { isolation: 'schema' }), 409, 'illegal_state', []);
    for (const action of ['suspend', 'move/confirm']) {
      expectProblem(await service.operator().post(at('immovable', action)), 409, 'illegal_state', []);
    }
    release();
    expect(await ended(service, id)).toMatchObject({ status: 'succeeded' });
    await service.operator().delete(`/admin/v1/tenants/${tenant.slug}`).expect(204);
    expectProblem(await move('immovable', { isolation: 'shared' }), 409, 'illegal_state', []);
    const purge = service
      .operator()
      .post(at('immovable', 'purge'))
      .send({ force: true, reason: 'of a test' });
    expectProblem(await purge, 409, 'illegal_state', []);
  });
});
