import { createSecretKey, randomBytes } from 'node:crypto';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { slugDigest, createCertifier } from '../../src/control/tenants/purge/certificate.ts';
import { useDatabase } from '../support/database.ts';
import { createHoldings } from '../support/holdings.ts';
import { expectProblem } from '../support/problem.ts';
import { backdate, certificateOf, deleteLongAgo, ended, purge, rowsByTable } from '../support/purging.ts';
import { expectSameRows, othersRows } from '../support/rows.ts';
import { password, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { unchanged } from '../support/untouched.ts';

const database = useDatabase();
const service = useTenantry(database);

const post = (name: string, body: object = {}) =>
  service.operator().post(`/admin/v1/tenants/${name}/purge`).send(body);
const verify = (certificate: unknown) => service.tenantry.control?.purges.verify(certificate);

/** A tenant with something in every table. */
async function settled(slug: string, isolation: 'shared' | 'schema'): Promise<TestTenant> {
  const tenant = await service.onboard(slug, isolation);
  await createHoldings(tenant);
  return tenant;
}

describe.each(['shared', 'schema'] as const)('a purge, isolation %s', (isolation) => {
  it('deletes every row of the tenant and no other, proves it, and leaves a tombstone', async () => {
    const tenant = await settled(`gone-${isolation}`, isolation);
    const twin = await settled(`twin-${isolation}`, isolation);
    await deleteLongAgo(service, database, tenant);
    const before = await rowsByTable(database, tenant.id);
    const others = await othersRows(database, tenant.id);
    expect(Object.keys(before).length).toBeGreaterThan(4);

    const job = await purge(service, tenant.slug);
    const certificate = certificateOf(job);
    expect(job).toMatchObject({ status: 'succeeded', kind: 'purge', tenant: tenant.id, error: null });
    const rows = Object.values(before).reduce((sum, count) => sum + count, 0);
    expect(job.progress.unit).toBe('rows');
    expect(job.progress.done).toBeGreaterThanOrEqual(rows);
    expect(job.progress.done).toBe(job.progress.total);

    expect(await rowsByTable(database, tenant.id)).toEqual({});
    expectSameRows(await othersRows(database, tenant.id), others);
    await twin.client.get('/v1/products').expect(200);
    const own = `tenant_${tenant.slug}`;
    expect(await database.superuser('select from pg_namespace where nspname = $1', [own])).toEqual([]);
    expect(
      await database.superuser('select from control.migration_ledger where schema_name = $1', [own]),
    ).toEqual([]);

    const told = Object.fromEntries(certificate.tables.map(({ place, deleted }) => [place, deleted]));
    const renamed = Object.entries(before).map(([place, count]) => [
      place.replace(/^"?tenant_[\w-]+"?\./, 'own.'),
      count,
    ]);
    expect(told).toMatchObject(Object.fromEntries(renamed) as object);
    expect(certificate).toMatchObject({
      tenantId: tenant.id,
      isolation,
      slugDigest: slugDigest(tenant.id, tenant.slug),
      forcedBecause: null,
      requestedBy: expect.any(String),
      job: job.id,
    });
    expect(certificate.tables.every(({ residual }) => residual === 0)).toBe(true);
    expect(await verify(certificate)).toEqual([]);
    expect(JSON.stringify(certificate)).not.toContain(tenant.slug);

    const { body } = await service.operator().get(`/admin/v1/tenants/${tenant.id}`).expect(200);
    expect(body).toMatchObject({ id: tenant.id, slug: tenant.id, name: '', status: 'purged', limits: {} });
    expectProblem(await service.operator().get(`/admin/v1/tenants/${tenant.slug}`), 404, 'not_found');
    const tombstone = await database.superuser(
      `select to_jsonb(t)::text || (select coalesce(jsonb_agg(j), '[]')::text from control.jobs j where tenant = t.id) as text
       from control.tenants t where id = $1`,
      [tenant.id],
    );
    expect(JSON.stringify(tombstone)).not.toContain(tenant.slug);
    const events = await database.superuser<{ action: string; text: string }>(
      `select action, to_jsonb(e)::text as text from control.audit_events e where tenant = $1 order by created_at, id`,
      [tenant.id],
    );
    expect(events.map(({ action }) => action)).toEqual(['tenants.purge', 'tenants.purged']);
    expect(JSON.stringify(events)).not.toContain(tenant.slug);
    for (const table of ['revocations', 'idempotency_keys']) {
      expect(await database.superuser(`select from control.${table} where tenant = $1`, [tenant.id])).toEqual(
        [],
      );
    }
  });

  it('makes tokens of the tenant prove nothing, and its slug free for another', async () => {
    const tenant = await settled(`token-${isolation}`, isolation);
    await deleteLongAgo(service, database, tenant);
    await purge(service, tenant.id);
    expectProblem(await tenant.client.get('/v1/products'), 401, 'unauthenticated', []);
    const refresh = service.api().post('/v1/auth/refresh').send({ refreshToken: tenant.refreshToken });
    expectProblem(await refresh, 401, 'invalid_credentials', []);
    for (const action of ['restore', 'purge', 'suspend']) {
      const answer = await service.operator().post(`/admin/v1/tenants/${tenant.id}/${action}`).send({});
      expectProblem(answer, 409, 'illegal_state', []);
      expect((answer.body as { detail: string }).detail).toContain('nothing more');
    }
    for (const [action, body] of [
      ['act', { reason: 'to see what is left of it' }],
      ['export', undefined],
    ] as const) {
      const answer = await service.operator().post(`/admin/v1/tenants/${tenant.id}/${action}`).send(body);
      expectProblem(answer, 409, 'illegal_state', []);
    }
    const successor = await service.onboard(tenant.slug, isolation);
    expect(successor.id).not.toBe(tenant.id);
    await successor.client
      .get('/v1/products')
      .expect(200, { data: [], page: { next: null, prev: null, limit: 20 } });
    expectProblem(await tenant.client.get('/v1/products'), 401, 'unauthenticated', []);
  });

  it('goes in batches, and finds rows that were left in the schema of another', async () => {
    const tenant = await settled(`many-${isolation}`, isolation);
    const host = await settled(`host-${isolation}`, 'schema');
    const place = isolation === 'shared' ? 'shared' : `"tenant_${tenant.slug}"`;
    const products = `select $1::uuid, gen_random_uuid(), 's' || n, 'n', 1, 'USD', 1 from generate_series(1, $2) n`;
    const insert = (schema: string, count: number) =>
      database.superuser(
        `insert into ${schema}.products (tenant_id, id, sku, name, price_cents, currency, stock) ${products}`,
        [tenant.id, count],
      );
    await insert(place, 12_000);
    await insert(`"tenant_${host.slug}"`, 7);
    await deleteLongAgo(service, database, tenant);
    const certificate = certificateOf(await purge(service, tenant.slug));
    const deleted = Object.fromEntries(certificate.tables.map((table) => [table.place, table.deleted]));
    expect(deleted).toMatchObject({
      [isolation === 'shared' ? 'shared.products' : 'own.products']: 12_002,
      [`tenant_${host.slug}.products`]: 7,
    });
    expect(await rowsByTable(database, tenant.id)).toEqual({});
    await host.client.get('/v1/products').expect(200);
  });
});

describe('a purge is refused', () => {
  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await settled('kept', 'shared');
  });

  it('for a tenant that is not deleted, an unknown one, and a body that is none', async () => {
    await unchanged(database, async () => {
      expectProblem(await post('kept'), 409, 'illegal_state', []);
      expectProblem(await post('nobody'), 404, 'not_found', []);
      expectProblem(await post('nobody', { dryRun: true }), 404, 'not_found', []);
      expectProblem(await post('kept', { force: true }), 400, 'invalid_input', ['/reason']);
      expectProblem(await post('kept', { force: true, reason: ' ' }), 400, 'invalid_input', ['/reason']);
      expectProblem(await post('kept', { dryRun: 'yes' }), 400, 'invalid_input', ['/dryRun']);
    });
  });

  it('under a legal hold, forced or not, and before the end of the retention', async () => {
    await service.operator().delete('/admin/v1/tenants/kept').expect(204);
    const soon = await post('kept');
    expectProblem(soon, 409, 'retention', []);
    expect((soon.body as { detail: string }).detail).toMatch(/retained until \d{4}-/);
    const hold = { legalHold: { reason: 'case 4711' } };
    await service.operator().patch('/admin/v1/tenants/kept').send(hold).expect(200);
    await backdate(database, tenant.id);
    for (const body of [{}, { force: true, reason: 'we want to' }]) {
      const answer = await post('kept', body);
      expectProblem(answer, 409, 'legal_hold', []);
      expect((answer.body as { detail: string }).detail).toContain('case 4711');
    }
    await service.operator().patch('/admin/v1/tenants/kept').send({ legalHold: null }).expect(200);
  });

  it('and tells what it would delete, without doing it, of any tenant', async () => {
    await unchanged(database, async () => {
      const { body } = await post('kept', { dryRun: true }).expect(200);
      const before = await rowsByTable(database, tenant.id);
      const { tables, rows } = body as {
        tables: { place: string; rows: number; bytes: number }[];
        rows: number;
      };
      expect(Object.fromEntries(tables.map((table) => [table.place, table.rows]))).toMatchObject(before);
      expect(rows).toBe(tables.reduce((sum, table) => sum + table.rows, 0));
      expect(tables.every(({ bytes }) => bytes > 0)).toBe(true);
    });
  });

  it('names places without the slug, also those of the control plane', async () => {
    const body = { slug: 'placed', name: 'P', isolation: 'schema', owner: { email: 'o@p.test', password } };
    await service.operator().post('/admin/v1/tenants').set('Idempotency-Key', 'p').send(body).expect(201);
    const { body: estimate } = await post('placed', { dryRun: true }).expect(200);
    const { tables } = estimate as { tables: { place: string }[] };
    expect(tables.map(({ place }) => place)).toEqual([
      ...['control.audit_events', 'control.idempotency_keys'],
      ...['own.audit_events', 'own.users'],
    ]);
  });

  it('not when it is forced, with a reason that the certificate repeats', async () => {
    const early = await service.onboard('early', 'shared');
    await service.operator().delete('/admin/v1/tenants/early').expect(204);
    // Deleted a minute ago: requests that were under way have ended.
    await database.superuser(
      `update control.tenants set status_since = now() - interval '1 minute' where id = $1`,
      [early.id],
    );
    const job = await purge(service, 'early', { force: true, reason: 'asked for by the customer' });
    expect(certificateOf(job).forcedBecause).toBe('asked for by the customer');
  });
});

describe('a table that is only added to, and was not known when this was written', () => {
  it('is found and emptied, and is only added to afterwards', async () => {
    await database.superuser(`
      create table shared.journal (tenant_id uuid not null, id uuid not null, said text, primary key (tenant_id, id));
      alter table shared.journal owner to tenantry_owner;
      alter table shared.journal enable row level security;
      alter table shared.journal force row level security;
      create policy tenant_isolation on shared.journal
        using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
      revoke delete on shared.journal from tenantry_owner;`);
    const tenant = await service.onboard('diarist', 'schema');
    const other = await service.onboard('novelist', 'schema');
    for (const { id } of [tenant, other]) {
      await database.superuser(`insert into shared.journal values ($1, gen_random_uuid(), 'dear diary')`, [
        id,
      ]);
    }
    await deleteLongAgo(service, database, tenant);
    const certificate = certificateOf(await purge(service, 'diarist'));
    expect(certificate.tables).toContainEqual({ place: 'shared.journal', deleted: 1, residual: 0 });
    expect(await database.superuser('select tenant_id from shared.journal')).toEqual([
      { tenant_id: other.id },
    ]);
    const [right] = await database.superuser(
      `select has_table_privilege('tenantry_owner', 'shared.journal', 'delete') as "may"`,
    );
    expect(right).toEqual({ may: false });
    await database.superuser('drop table shared.journal');
  });
});

describe('a certificate', () => {
  let certificate: ReturnType<typeof certificateOf>;
  let job = '';
  beforeAll(async () => {
    const tenant = await settled('certified', 'shared');
    await deleteLongAgo(service, database, tenant);
    const done = await purge(service, 'certified');
    certificate = certificateOf(done);
    job = done.id;
  });

  it('is genuine, in whatever order its fields are, and is found under its job again', async () => {
    const reversed = Object.fromEntries(Object.entries(certificate).toReversed());
    expect(await verify(reversed)).toEqual([]);
    expect(certificateOf(await ended(service, job))).toEqual(certificate);
  });

  it.each([
    ['another tenant', { tenantId: '01900000-0000-7000-8000-000000000000' }, /forged or altered/],
    ['another count', { tables: [] }, /forged or altered/],
    ['another time', { purgedAt: '2020-01-01T00:00:00Z' }, /forged or altered/],
    ['no signature', { signature: '' }, /forged or altered/],
    ['another signature', { signature: 'A'.repeat(86) }, /forged or altered/],
    ['a field more', { note: 'x' }, /not a certificate/],
    ['another version', { version: 2 }, /not a certificate/],
    ['another key', { keyId: '0000000000000000' }, /another key/],
  ])('with %s is refused', async (_what, change, words) => {
    const faults = await verify({ ...certificate, ...change });
    expect(faults).toEqual([expect.stringMatching(words)]);
  });

  it('of another installation is refused, as is what is none', async () => {
    const { type: _type, version: _version, keyId: _key, signature: _signature, ...facts } = certificate;
    const foreign = createCertifier(createSecretKey(randomBytes(32))).certify(facts);
    expect(await verify(foreign)).toEqual([expect.stringMatching(/another key/)]);
    for (const nothing of [null, [], 'x', 3, {}]) {
      expect(await verify(nothing)).toEqual(['This is not a certificate of a purge.']);
    }
  });

  it('is contradicted by rows that have come back, and by a tenant that has', async () => {
    await database.superuser(
      `insert into shared.counters (tenant_id, id, name, value) values ($1, gen_random_uuid(), 'x', 1)`,
      [certificate.tenantId],
    );
    expect(await verify(certificate)).toEqual(['shared.counters holds 1 rows of the tenant.']);
    await database.superuser('delete from shared.counters where tenant_id = $1', [certificate.tenantId]);
    await database.superuser(`update control.tenants set status = 'active' where id = $1`, [
      certificate.tenantId,
    ]);
    expect(await verify(certificate)).toEqual(['The tenant is active, not purged.']);
    await database.superuser(`update control.tenants set status = 'purged' where id = $1`, [
      certificate.tenantId,
    ]);
  });
});

it('what was kept for repeated requests goes, too', async () => {
  const body = { slug: 'repeated', name: 'R', isolation: 'shared', owner: { email: 'o@r.test', password } };
  const made = await service
    .operator()
    .post('/admin/v1/tenants')
    .set('Idempotency-Key', 'r')
    .send(body)
    .expect(201);
  await deleteLongAgo(service, database, made.body as { id: string });
  const certificate = certificateOf(await purge(service, 'repeated'));
  expect(certificate.tables).toContainEqual({ place: 'control.idempotency_keys', deleted: 1, residual: 0 });
  await service.operator().post('/admin/v1/tenants').set('Idempotency-Key', 'r').send(body).expect(201);
});
