import { beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { contentOf, knexRows, withKnex } from '../support/content.ts';
import { useDatabase } from '../support/database.ts';
import { stepsOf } from '../support/ladders.ts';
import { moveTo, rowsIn } from '../support/moving.ts';
import { deleteLongAgo, purge } from '../support/purging.ts';
import { password, replicasFresh, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';
import { settle, withTurn } from '../support/warm.ts';

jest.setTimeout(90_000);

const database = useDatabase();
const service = useTenantry(database, { env: { PROVISION_WARM: '2' } });
const steps = await stepsOf('tenant');

const input = (slug: string) => ({
  ...{ slug, name: 'A tenant', isolation: 'schema' },
  owner: { email: 'owner@tenants.test', password },
});
const create = (body: object, headers: Record<string, string> = {}) =>
  service.operator().post('/admin/v1/tenants').set(headers).send(body);
const product = { sku: 'a-1', name: 'First', priceCents: 100, stock: 3 };
const skus = async ({ client }: TestTenant) =>
  ((await client.get('/v1/products').expect(200)).body as { data: { sku: string }[] }).data.map(
    ({ sku }) => sku,
  );

async function oids(pattern: string): Promise<string[]> {
  const query = 'select oid::text from pg_namespace where nspname like $1 order by 1';
  return (await database.superuser<{ oid: string }>(query, [pattern])).map(({ oid }) => oid);
}

/** Two schemas wait, and nobody is at work. */
beforeEach(() =>
  until(async () => {
    await service.tenantry.control?.warm.tend();
    return (await oids('warm\\_%')).length === 2;
  }, 'two schemas to wait'),
);

it('a tenant is given a schema that waited, and has all that one made for it has', async () => {
  const before = await oids('warm\\_%');
  const given = await service.onboard('given', 'schema');
  expect(before).toContain((await oids('tenant\\_given'))[0]);
  await given.client.post('/v1/products').send(product).expect(201);
  expect(await skus(given)).toEqual(['a-1']);

  await withKnex(database, 'tenant_given', undefined, async (knex) => {
    const [done, pending] = (await knex.migrate.list()) as [{ name: string }[], unknown[]];
    expect(done.map(({ name }) => name)).toEqual(steps);
    expect(pending).toEqual([]);
  });
  const made = await withTurn(database, async () => {
    await database.superuser(
      `update control.migration_ledger set checksum = 'x' where schema_name like 'warm%'`,
    );
    return service.onboard('made', 'schema');
  });
  expect(await contentOf(database, 'tenant_given')).toEqual(await contentOf(database, 'tenant_made'));
  expect(await knexRows(database, 'tenant_given')).toEqual(await knexRows(database, 'tenant_made'));
  const told = async ({ id }: TestTenant) => {
    const { body } = await service.operator().get(`/admin/v1/tenants/${id}`).expect(200);
    const { schemaVersion, status, isolation } = body as Record<string, unknown>;
    const versions = 'select version, needs from control.tenant_versions where id = $1';
    return { schemaVersion, status, isolation, versions: await database.superuser(versions, [id]) };
  };
  expect(await told(given)).toEqual(await told(made));
  expect((await told(given)).schemaVersion).toBe(steps.at(-1));
  // What nobody may have any more is replaced, once it has been there for a while.
  await settle(database);
});

describe('of a tenant that was given its schema', () => {
  let first: TestTenant;
  beforeAll(async () => {
    first = await service.onboard('reused', 'schema');
    await first.client.post('/v1/products').send(product).expect(201);
    await replicasFresh(service);
    expect(await skus(first)).toEqual(['a-1']);
  });

  it('the schema goes with a purge, and the slug is free for another one, on every server', async () => {
    const [before] = await oids('tenant\\_reused');
    await deleteLongAgo(service, database, first);
    expect((await purge(service, 'reused')).status).toBe('succeeded');
    expect(await oids('tenant\\_reused')).toEqual([]);
    await service.tenantry.control?.warm.tend();
    const ready = await oids('warm\\_%');

    const second = await service.onboard('reused', 'schema');
    const [after] = await oids('tenant\\_reused');
    expect(ready).toContain(after);
    expect(after).not.toBe(before);
    // Statements that connections have prepared for the schema of that name are of this one now.
    expect(await skus(second)).toEqual([]);
    const { id } = (await second.client.post('/v1/products').send(product).expect(201)).body as {
      id: string;
    };
    const relaxed = { 'Read-Consistency': 'any' };
    await until(
      async () => (await second.client.get(`/v1/products/${id}`).set(relaxed)).status === 200,
      'the product to be on a replica',
    );
    expect(await skus(second)).toEqual(['a-1']);
  });
});

it('it moves to the common tables and back, as one whose schema was made', async () => {
  const tenant = await service.onboard('moving', 'schema');
  await tenant.client.post('/v1/products').send(product).expect(201);
  const rows = await rowsIn(database, 'tenant_moving', tenant.id);
  await moveTo(service, tenant, 'shared');
  expect((await rowsIn(database, 'shared', tenant.id)).length).toBeGreaterThanOrEqual(rows.length);
  await moveTo(service, tenant, 'schema');
  expect(await skus(tenant)).toEqual(['a-1']);
});

it('another one takes the place of the one that was given, without being asked for', async () => {
  await create(input('unasked')).expect(201);
  expect(await oids('tenant\\_unasked')).toHaveLength(1);
  await until(async () => (await oids('warm\\_%')).length === 2, 'two schemas to wait');
});

it('a request that is repeated takes one schema', async () => {
  const before = await oids('warm\\_%');
  const key = { 'Idempotency-Key': 'one-schema' };
  const answers = [
    await create(input('repeated'), key).expect(201),
    await create(input('repeated'), key).expect(201),
  ];
  expect(answers[1]?.headers['idempotency-replayed']).toBe('true');
  expect(answers[1]?.body).toEqual(answers[0]?.body);
  const [own] = await oids('tenant\\_repeated');
  await service.tenantry.control?.warm.tend();
  const after = await oids('warm\\_%');
  expect(before).toContain(own);
  expect(after).toHaveLength(2);
  expect(before.filter((oid) => after.includes(oid))).toHaveLength(1);
});

it('more tenants at once than schemas that wait are all made, each with its own', async () => {
  const slugs = ['at_once_1', 'at_once_2', 'at_once_3', 'at_once_4', 'at_once_5'];
  const answers = await Promise.all(slugs.map((slug) => create(input(slug))));
  expect(answers.map(({ status }) => status)).toEqual(slugs.map(() => 201));
  expect(new Set(await oids('tenant\\_at\\_once\\_%')).size).toBe(slugs.length);
});

it('a tenant of the common tables takes none', async () => {
  const before = await oids('warm\\_%');
  await service.onboard('common', 'shared');
  expect(await oids('warm\\_%')).toEqual(before);
});

it('how many wait is shown, and nothing of them is to tenantry_app', async () => {
  const { text } = await service.admin().get('/metrics').expect(200);
  expect(text).toMatch(/^tenantry_warm_schemas 2$/m);
  const [one] = await database.superuser<{ name: string }>(
    'select schema_name as name from control.warm_schemas',
  );
  await expect(database.app(`select from ${one?.name}.products`)).rejects.toThrow(
    'permission denied for schema',
  );
});
