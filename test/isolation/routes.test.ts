import { beforeAll, describe, expect, it } from '@jest/globals';
import type request from 'supertest';
import { v7 as uuidv7 } from 'uuid';
import { useDatabase } from '../support/database.ts';
import { createHoldings, type Held, type Holding, type Holdings, useHoldings } from '../support/holdings.ts';
import { resources } from './registry.ts';
import { routesOf } from '../support/routes.ts';
import { allRows, expectSameRows, newEvents, withoutEvents } from '../support/rows.ts';
import { plantStrays } from '../support/stray.ts';
import { password, problemOf, useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
// Every answer comes from the primary, so that Served-By is no difference between two of them.
const service = useTenantry(database, { env: { DATABASE_REPLICA_URLS: '' } });

type Route = [route: string, resource: string, body?: object];

/** Routes with the id of a resource in the path. */
const byId: Route[] = [
  ['GET /v1/users/:id', 'users'],
  ['PATCH /v1/users/:id', 'users', { name: 'changed' }],
  ['DELETE /v1/users/:id', 'users'],
  ['POST /v1/users/:id/restore', 'users'],
  ['GET /v1/products/:id', 'products'],
  ['PATCH /v1/products/:id', 'products', { stock: 7 }],
  ['DELETE /v1/products/:id', 'products'],
  ['POST /v1/products/:id/restore', 'products'],
  ['GET /v1/orders/:id', 'orders'],
  ['PATCH /v1/orders/:id', 'orders', { customerId: null }],
  ['DELETE /v1/orders/:id', 'orders'],
  ['POST /v1/orders/:id/restore', 'orders'],
  ['POST /v1/orders/:id/cancel', 'orders'],
  ['GET /v1/api-keys/:id', 'api-keys'],
  ['PATCH /v1/api-keys/:id', 'api-keys', { name: 'changed' }],
  ['DELETE /v1/api-keys/:id', 'api-keys'],
  ...Object.entries(resources).flatMap(([name, { change }]): Route[] => [
    [`GET /v1/${name}/:id`, name],
    [`PATCH /v1/${name}/:id`, name, change],
    [`DELETE /v1/${name}/:id`, name],
    [`POST /v1/${name}/:id/restore`, name],
  ]),
];
/** Routes without one, behind a token; see lists.test.ts, too. */
const collective: Route[] = [
  ['GET /v1/users', 'users'],
  ['POST /v1/users', 'users', { email: 'new@user.test', password }],
  ['GET /v1/products', 'products'],
  ['POST /v1/products', 'products', { sku: 'new', name: 'new', priceCents: 1, stock: 1 }],
  ['POST /v1/products/bulk', 'products', [{ sku: 'bulk', name: 'new', priceCents: 1, stock: 1 }]],
  ['PATCH /v1/products/bulk?filter[stock][gte]=0', 'products', { stock: 7 }],
  ['DELETE /v1/products/bulk?filter[stock][gte]=0', 'products'],
  ['GET /v1/products?format=ndjson', 'products'],
  ['GET /v1/orders', 'orders'],
  ['POST /v1/orders', 'orders', { lines: [{ productId: uuidv7(), quantity: 1 }] }],
  ['GET /v1/api-keys', 'api-keys'],
  ['POST /v1/api-keys', 'api-keys', { name: 'new', scopes: ['read'] }],
  ...Object.entries(resources).flatMap(([name, { body }]): Route[] => [
    [`GET /v1/${name}`, name],
    [`POST /v1/${name}`, name, body(0)],
  ]),
  ['GET /v1/audit-events', 'users'],
  ['GET /v1/me', 'users'],
  ['POST /v1/me/password', 'users', { currentPassword: 'wrong', newPassword: password }],
];
/** Routes that take credentials, see credentials.test.ts; and routes that have to do with no tenant. */
const withoutToken = [
  'POST /v1/auth/login',
  'POST /v1/auth/refresh',
  'POST /v1/auth/logout',
  'GET /.well-known/jwks.json',
  'GET /livez',
  'GET /readyz',
  'GET /openapi.json',
  'GET /docs',
];

/** Of one length each: jest takes a parameter too many for a callback that the test will call. */
const single = byId.map(([route, resource, body]) => [route, resource, body] as const);
const all = [...byId, ...collective].map(([route, resource, body]) => [route, resource, body] as const);

const { heldBy } = useHoldings(service);
const holdingOf = (slug: string, resource: string) => holdingIn(heldBy(slug), resource);

function holdingIn({ others, tenant: _tenant, ...held }: Holdings, resource: string): Holding {
  const holding = resource in held ? held[resource as Held] : others[resource];
  if (holding === undefined) throw new Error(`nobody holds any ${resource}`);
  return holding;
}

beforeAll(() => plantStrays(database));

function send(client: request.Agent, route: string, id: string, body?: object): request.Test {
  const [method = '', path = ''] = route.replace(':id', id).split(' ');
  const call = client[method.toLowerCase() as 'get' | 'post' | 'patch' | 'delete'](path);
  return body === undefined ? call : call.send(body);
}

/** All of an answer but what is new in every one: the request's id and times. */
function lasting({ status, text, headers }: request.Response) {
  const { 'x-request-id': id, date, 'server-timing': timing, ...others } = headers as Record<string, string>;
  expect([typeof date, typeof timing]).toEqual(['string', 'string']);
  return { status, text: text.replace(String(id), ''), headers: others };
}

it('every route of the tenant API stands in one of the lists above', () => {
  const listed = [
    ...new Set([...byId, ...collective].map(([route]) => route.replace(/\?.*/, ''))),
    ...withoutToken,
    'GET /v1/audit-events/:id',
  ];
  expect(routesOf(service.tenantry.tenantApp).toSorted()).toEqual(listed.toSorted());
});

describe.each(['ash', 'cedar'])('for a client of the tenant %s', (slug) => {
  const client = () => heldBy(slug).tenant.client;

  it.each(single)(
    '%s answers every id that is not there in the same bytes',
    async (route, resource, body) => {
      const ids: Record<string, string> = {
        'of a tenant beside it': holdingOf('birch', resource).live,
        'of a tenant beside it, deleted': holdingOf('birch', resource).deleted,
        'in another schema': holdingOf('dogwood', resource).live,
        'in another schema, deleted': holdingOf('dogwood', resource).deleted,
        'of another resource': holdingOf(slug, resource === 'users' ? 'products' : 'users').live,
      };
      if (!route.endsWith('/restore')) ids['its own, deleted'] = holdingOf(slug, resource).deleted;
      const before = await allRows(database);
      const unknown = await send(client(), route, uuidv7(), body).expect(404);
      expect(problemOf(unknown)).toMatchObject({ code: 'not_found', errors: [] });
      for (const [kind, id] of Object.entries(ids)) {
        const answer = await send(client(), route, id, body);
        expect([kind, lasting(answer)]).toEqual([kind, lasting(unknown)]);
      }
      expectSameRows(await allRows(database), before);
    },
  );

  it.each(all)(
    '%s is refused when X-Tenant-ID names another tenant, whether there is one or not',
    async (route, resource, body) => {
      const others = ['birch', 'dogwood'].map(heldBy).map((held) => held.tenant);
      const before = await allRows(database);
      const claim = (name: string, id: string) => send(client(), route, id, body).set('X-Tenant-ID', name);
      const unknown = await claim('nobody-at-all', holdingOf(slug, resource).live).expect(403);
      expect(problemOf(unknown)).toMatchObject({ code: 'tenant_mismatch', errors: [] });
      for (const other of others) {
        for (const name of [other.slug, other.id, other.id.toUpperCase()]) {
          for (const owner of [slug, other.slug]) {
            const answer = await claim(name, holdingOf(owner, resource).live);
            expect(lasting(answer)).toEqual(lasting(unknown));
          }
        }
      }
      const after = await allRows(database);
      expectSameRows(withoutEvents(after), withoutEvents(before));
      const own = heldBy(slug).tenant.id;
      const told = newEvents(before, after);
      expect(told.map(({ row }) => [row.tenant_id, row['action']])).toEqual(
        Array.from({ length: 13 }, () => [own, 'auth.tenant_mismatch']),
      );
    },
  );

  it.each(all)('%s is refused when X-Tenant-ID is no name', async (route, resource, body) => {
    const before = await allRows(database);
    for (const name of [`${slug}, birch`, `birch, ${slug}`, '*', '%', `${slug}'--`, '../birch']) {
      const call = send(client(), route, holdingOf(slug, resource).live, body).set('X-Tenant-ID', name);
      expect(problemOf(await call.expect(400))).toMatchObject({ code: 'invalid_input' });
    }
    expectSameRows(await allRows(database), before);
  });

  it.each(all)('%s is refused without a token', async (route, resource, body) => {
    const before = await allRows(database);
    const call = send(service.api(), route, holdingOf(slug, resource).live, body).set('X-Tenant-ID', slug);
    expect(problemOf(await call.expect(401))).toMatchObject({ code: 'unauthenticated' });
    expectSameRows(await allRows(database), before);
  });
});

/** Last: it leaves many rows, and the tests above look at all there are. */
describe.each(['ash', 'cedar'])('a client of the tenant %s', (slug) => {
  const client = () => heldBy(slug).tenant.client;

  it.each(single)('%s reaches its own, with the tenant named or not', async (route, resource, body) => {
    const { tenant } = heldBy(slug);
    for (const name of [undefined, tenant.slug, tenant.id, tenant.id.toUpperCase()]) {
      const own = await createHoldings({ ...tenant, slug: `${slug}-${uuidv7()}` });
      const id = holdingIn(own, resource)[route.endsWith('/restore') ? 'deleted' : 'live'];
      const call = send(client(), route, id, body);
      const answer = await (name === undefined ? call : call.set('X-Tenant-ID', name));
      expect([200, 204]).toContain(answer.status);
    }
  });
});
