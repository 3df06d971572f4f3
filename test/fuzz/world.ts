import { resources as registered } from '../isolation/registry.ts';
import { emailOf } from '../support/holdings.ts';
import { password, type TestTenant, type TestTenantry } from '../support/tenantry.ts';
import { idMark } from './arbitrary.ts';
import type { Credential } from './requests.ts';

/** Tenants with rows that say whose they are, and what the fuzzer has learnt of them. */
export interface Inhabitant {
  tenant: TestTenant;
  /** In every text of its rows, and in no request. */
  marker: string;
  /** Ids by `own` or `deleted` and resource. */
  ids: { own: Record<string, string[]>; deleted: Record<string, string[]> };
  credentials: Partial<Record<Credential, string>>;
  /** Of those who log in; what is sent may change it. */
  logins: Record<Person, { email: string; password: string }>;
  refreshTokens: string[];
  etags: string[];
  tokens: string[];
  cursors: string[];
}

export type Person = 'owner' | 'viewer';

const isolations = ['shared', 'shared', 'schema'] as const;
const resources = ['users', 'products', 'orders', 'api-keys'] as const;
const unknown = '01900000-0000-7000-8000-000000000000';

/** @param name what their slugs begin with */
export async function settle(service: TestTenantry, name = 'fuzz'): Promise<Inhabitant[]> {
  const world: Inhabitant[] = [];
  for (const [index, isolation] of isolations.entries()) {
    const tenant = await service.onboard(`${name}-${index}`, isolation);
    world.push(await furnish(service, tenant, `MARKER${index}OF${index}`));
  }
  return world;
}

async function furnish(service: TestTenantry, tenant: TestTenant, marker: string): Promise<Inhabitant> {
  const { client, slug } = tenant;
  const ids: Inhabitant['ids'] = { own: {}, deleted: {} };
  const make = async (resource: string, body: object) => {
    const answer = await client.post(`/v1/${resource}`).send(body).expect(201);
    return answer.body as { id: string; key?: string };
  };
  const email = (name: string) => emailOf(`${name}.${marker}.${slug}`.toLowerCase(), 'live');
  const user = (name: string, role: string) =>
    make('users', { email: email(name), password, role, name: marker });
  const viewer = await user('viewer', 'viewer');
  const products = await Promise.all(
    [1, 2, 3].map((each) => {
      const texts = { sku: `${marker}-${each}`, name: `${marker} ${each}`, description: marker };
      return make('products', { ...texts, priceCents: 5, stock: 100_000 });
    }),
  );
  const bodies: Record<(typeof resources)[number], (each: number) => object> = {
    users: (each) => ({ email: email(`user${each}`), password, name: marker }),
    products: (each) => ({ sku: `${marker}+${each}`, name: marker, priceCents: 5, stock: 5 }),
    orders: () => ({ customerId: viewer.id, lines: [{ productId: products[0]?.id, quantity: 1 }] }),
    'api-keys': (each) => ({ name: `${marker} ${each}`, scopes: ['read'] }),
  };
  const others = Object.entries(registered).map(([resource, { body }]) => [resource, body] as const);
  for (const [resource, bodyOf] of [...Object.entries(bodies), ...others]) {
    const live = await Promise.all([1, 2].map(async (each) => (await make(resource, bodyOf(each))).id));
    const gone = (await make(resource, bodyOf(3))).id;
    await client.delete(`/v1/${resource}/${gone}`).expect(204);
    ids.own[resource] = live;
    ids.deleted[resource] = [gone];
  }
  ids.own['products']?.push(...products.map(({ id }) => id));
  const events = await client.get('/v1/audit-events?limit=5').expect(200);
  ids.own['audit-events'] = (events.body as { data: { id: string }[] }).data.map(({ id }) => id);
  const key = await make('api-keys', { name: marker, scopes: ['read', 'write'] });
  const signIn = async (address: string) => {
    const answer = await service
      .api()
      .post('/v1/auth/login')
      .set('X-Tenant-ID', slug)
      .send({ email: address, password })
      .expect(200);
    return (answer.body as { accessToken: string }).accessToken;
  };
  return {
    ...{ tenant, marker, ids },
    credentials: {
      owner: tenant.token,
      viewer: await signIn(email('viewer')),
      key: String(key.key),
      junk: 'e30.e30.e30',
    },
    logins: {
      owner: { email: tenant.ownerEmail, password },
      viewer: { email: email('viewer'), password },
    },
    ...{ refreshTokens: [tenant.refreshToken], etags: [], tokens: [], cursors: [] },
  };
}

/** What a placeholder stands for now. */
export function meant(world: readonly Inhabitant[], self: number, text: string, as: Person): string {
  const own = world[self];
  const other = world[(self + 1) % world.length];
  if (own === undefined || other === undefined) throw new Error('There is no such tenant');
  const [, whose = '', resource = '', index = '0'] = idMark.exec(text) ?? [];
  const pick = (from: readonly string[] = []) => from[Number(index) % Math.max(1, from.length)] ?? unknown;
  if (whose === 'own') return pick(own.ids.own[resource]);
  if (whose === 'deleted') return pick(own.ids.deleted[resource]);
  if (whose === 'foreign')
    return pick(world.flatMap((each) => (each === own ? [] : (each.ids.own[resource] ?? []))));
  if (whose === 'unknown') return unknown;
  if (text.startsWith('@marker')) return text.replace('@marker', own.marker);
  if (text.startsWith('@cursor:')) {
    return own.cursors[Number(text.slice('@cursor:'.length)) % Math.max(1, own.cursors.length)] ?? 'none';
  }
  // A map: a text may be `constructor`.
  const words = new Map([
    ['@slug', own.tenant.slug],
    ['@id', own.tenant.id],
    ['@foreign', other.tenant.slug],
    ['@email', own.logins[as].email],
    ['@password', own.logins[as].password],
    ['@refresh', own.refreshTokens.at(-1)],
    ['@foreignRefresh', other.refreshTokens.at(-1)],
    ['@etag', own.etags.at(-1) ?? '"1.abcdef"'],
    ['@token', own.tokens.at(-1) ?? 'none'],
  ]);
  return words.get(text) ?? text;
}
