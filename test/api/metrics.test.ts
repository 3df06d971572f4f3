import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { type Figures, readFigures } from '../support/exposition.ts';
import { problemOf, replicasFresh, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

const database = useDatabase();
const service = useTenantry(database);

async function figures(): Promise<Figures> {
  return readFigures((await service.admin().get('/metrics').expect(200)).text);
}

describe('GET /metrics', () => {
  let tenant: TestTenant;
  let productId: string;
  beforeAll(async () => {
    tenant = await service.onboard('measured', 'schema');
    const answer = await tenant.client
      .post('/v1/products')
      .send({ sku: 'M', name: 'Measured', priceCents: 1, stock: 1 })
      .expect(201);
    productId = (answer.body as { id: string }).id;
  });

  /** How much a figure grows by what is done; a request is counted when its connection has been told. */
  async function growth(
    name: string,
    labels: Record<string, string>,
    fn: () => Promise<unknown>,
  ): Promise<number> {
    const before = (await figures()).sum(name, labels);
    await fn();
    await until(async () => (await figures()).sum(name, labels) > before, `${name} to grow`);
    return (await figures()).sum(name, labels) - before;
  }

  it('wants no token, is text for Prometheus, and is on the admin port alone', async () => {
    const answer = await service.admin().get('/metrics').expect(200);
    expect(answer.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(problemOf(await service.api().get('/metrics'))).toMatchObject({ status: 404 });
  });

  it('counts requests by the pattern of their route, however the address was spelled and answered', async () => {
    const requests = (route: string, method: string, status: number) => ({
      ...{ api: 'tenant', route, method, status: String(status) },
    });
    const read = requests('/v1/products/:id', 'GET', 200);
    const grown = await growth('tenantry_http_requests_total', read, async () => {
      await tenant.client.get(`/v1/products/${productId}`).expect(200);
      await tenant.client.get(`/V1/Products/${productId}/`).expect(200);
    });
    expect(grown).toBe(2);
    const cases = [
      [requests('/v1/products/:id', 'GET', 404), () => tenant.client.get(`/v1/products/${tenant.id}`)],
      [requests('/v1/products', 'GET', 200), () => tenant.client.get('/v1/products/?limit=1')],
      [requests('/v1/products', 'PUT', 405), () => tenant.client.put('/v1/products')],
      [requests('/v1/products/*', 'GET', 401), () => service.api().get(`/v1/products/${productId}`)],
      [requests('/v1/me/*', 'GET', 401), () => service.api().get('/v1/me?x=1')],
      [requests('*', 'GET', 404), () => service.api().get(`/v1/men/${productId}`)],
      [requests('/livez', 'GET', 200), () => service.api().get('/livez')],
    ] as const;
    for (const [labels, send] of cases) {
      expect(await growth('tenantry_http_requests_total', labels, async () => send())).toBe(1);
    }
    const { status: _, ...durations } = read;
    expect((await figures()).sum('tenantry_http_request_seconds_count', durations)).toBeGreaterThan(1);
  });

  it('counts reads by node and reason, and units of work by kind', async () => {
    await replicasFresh(service);
    const { db } = service.tenantry.data;
    const before = await figures();
    const scope = (kind: 'strong' | 'any') => ({
      ...tenant.scope,
      consistency: { level: { kind } },
    });
    await db.read(scope('strong'), (session) => session.query('select 1'));
    await db.read(scope('any'), (session) => session.query('select 1'));
    await db.write(scope('strong'), (session) => session.query('select 1'));
    await db.writeOne(scope('strong'), (session) => session.query('select 1'));
    const after = await figures();
    const grown = (name: string, labels: Record<string, string>) =>
      after.sum(name, labels) - before.sum(name, labels);
    expect(grown('tenantry_reads_total', { node: 'primary', role: 'primary', reason: 'strong' })).toBe(1);
    expect(grown('tenantry_reads_total', { node: 'replica-1', role: 'replica', reason: 'any' })).toBe(1);
    expect(grown('tenantry_reads_total', {})).toBe(2);
    for (const [kind, times] of Object.entries({ read: 2, write: 1, 'write-one': 1 })) {
      expect([kind, grown('tenantry_unit_seconds_count', { kind })]).toEqual([kind, times]);
    }
    expect(grown('tenantry_pool_wait_seconds_count', { node: 'primary' })).toBe(3);
    expect(grown('tenantry_pool_wait_seconds_count', { node: 'replica-1' })).toBe(1);
  });

  it('counts what was run again, by the cause', async () => {
    const { db } = service.tenantry.data;
    const grown = await growth('tenantry_retries_total', { remedy: 'rerun' }, async () => {
      const hopeless = db.write(tenant.scope, (session) =>
        session.query(`do $$ begin raise exception 'x' using errcode = '40001'; end $$`),
      );
      await expect(hopeless).rejects.toMatchObject({ code: 'unavailable' });
    });
    expect(grown).toBe(2);
  });

  it('counts connections that were not clean, and shows pools and states of every node', async () => {
    const { db } = service.tenantry.data;
    const grown = await growth('tenantry_pool_tainted_total', { node: 'primary' }, () =>
      db.write(tenant.scope, (session) => session.query(`select set_config('app.tenant_id', 'x', false)`)),
    );
    expect(grown).toBe(1);
    const shown = await figures();
    for (const { name, state } of db.nodes()) {
      expect([name, shown.sum('tenantry_node_state', { node: name, state })]).toEqual([name, 1]);
      expect([name, shown.sum('tenantry_node_state', { node: name })]).toEqual([name, 1]);
      expect([name, shown.sum('tenantry_pool_max', { node: name })]).toEqual([name, 10]);
    }
    await db.write(tenant.scope, async (session) => {
      await session.query('select 1');
      expect((await figures()).sum('tenantry_pool_in_use', { node: 'primary' })).toBe(1);
    });
  });

  it('shows the process and its event loop', async () => {
    const names = (await figures()).names();
    expect(names).toEqual(
      expect.arrayContaining(['nodejs_eventloop_lag_p99_seconds', 'process_resident_memory_bytes']),
    );
  });

  it('has no label that tells of a tenant, a user or a resource', async () => {
    const { text } = await service.admin().get('/metrics').expect(200);
    expect(text).not.toMatch(/[0-9a-f]{8}-[0-9a-f]{4}-/);
    expect(text).not.toContain(tenant.slug);
    const labels = new Set(
      readFigures(text)
        .samples()
        .filter(({ name }) => name.startsWith('tenantry_'))
        .flatMap((sample) => Object.keys(sample.labels)),
    );
    const known = new Set([
      ...['api', 'kind', 'le', 'method', 'node', 'reason'],
      ...['outcome', 'remedy', 'result', 'role', 'route', 'standing', 'state', 'status'],
    ]);
    expect([...labels].filter((label) => !known.has(label))).toEqual([]);
  });

  it('is what docs/operations.md explains', async () => {
    const explained = readFileSync('docs/operations.md', 'utf8');
    const own = (await figures()).names().filter((name) => name.startsWith('tenantry_'));
    expect(own.filter((name) => !explained.includes(`\`${name}\``))).toEqual([]);
    const spoken = [...explained.matchAll(/^\| `(tenantry_[a-z_]+)`/gm)].map(([, name]) => name ?? '');
    expect(spoken.filter((name) => !own.includes(name))).toEqual([]);
  });
});
