import { describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { password, useTenantry } from '../support/tenantry.ts';
import { forbidChanges, unchanged } from '../support/untouched.ts';
import { statusesOf, useWire } from '../support/wire.ts';

const database = useDatabase();
const service = useTenantry(database);
const wire = useWire(() => service.tenantry.adminApp ?? service.tenantry.tenantApp);

interface TenantBody {
  id: string;
  slug: string;
}
interface TenantPage {
  data: TenantBody[];
  page: { next: string | null; total?: number };
}

const input = (slug: string, isolation = 'shared') => ({
  slug,
  name: 'A tenant',
  isolation,
  owner: { email: 'owner@tenants.test', password },
});
const create = (body: object) => service.operator().post('/admin/v1/tenants').send(body);
const login = (slug: string) =>
  service
    .api()
    .post('/v1/auth/login')
    .set('X-Tenant-ID', slug)
    .send({ email: 'owner@tenants.test', password });

async function operatorToken(): Promise<string> {
  const body = { email: 'operator@tenantry.test', password: 'operator of tests' };
  const { body: answer } = await service.admin().post('/admin/v1/auth/login').send(body).expect(200);
  return (answer as { accessToken: string }).accessToken;
}

describe('a tenant is not made', () => {
  forbidChanges(database);
  const whole = input('refused');

  it.each([
    ['a reserved slug', { slug: 'admin' }, '/slug'],
    ['the slug of our own schema', { slug: 'shared' }, '/slug'],
    ['a slug of PostgreSQL’s', { slug: 'pg_temp' }, '/slug'],
    ['a slug of one letter', { slug: 'a' }, '/slug'],
    ['a slug of 49 letters', { slug: 'a'.repeat(49) }, '/slug'],
    ['a slug with a capital letter', { slug: 'Acme' }, '/slug'],
    ['a slug with a look-alike letter', { slug: 'аcme' }, '/slug'],
    ['a slug that begins with a digit', { slug: '1acme' }, '/slug'],
    ['a slug with a quotation mark', { slug: 'a";drop schema shared;--' }, '/slug'],
    ['a slug with a line break', { slug: 'acme\n' }, '/slug'],
    ['a slug that looks like an id', { slug: 'a1900000-0000-7000-8000-000000000000' }, '/slug'],
    ['an empty name', { name: '  ' }, '/name'],
    ['an unknown isolation', { isolation: 'database' }, '/isolation'],
    ['no owner', { owner: undefined }, '/owner'],
    ['an owner with a role', { owner: { ...whole.owner, role: 'owner' } }, '/owner/role'],
    ['an owner without an address', { owner: { password } }, '/owner/email'],
    ['a short password', { owner: { ...whole.owner, password: 'too short' } }, '/owner/password'],
    ['a password of 73 bytes', { owner: { ...whole.owner, password: 'x'.repeat(73) } }, '/owner/password'],
    [
      '72 letters of 73 bytes',
      { owner: { ...whole.owner, password: `${'x'.repeat(71)}é` } },
      '/owner/password',
    ],
    ['an unknown limit', { limits: { planets: 3 } }, '/limits/planets'],
    ['a limit of 0', { limits: { users: 0 } }, '/limits/users'],
    ['an id', { id: '01900000-0000-7000-8000-000000000000' }, '/id'],
    ['a status', { status: 'active' }, '/status'],
  ])('with %s', async (_what, fault, pointer) => {
    expectProblem(await create({ ...whole, ...fault }), 400, 'invalid_input', [pointer]);
  });

  it('and is not found under a name that cannot be one', async () => {
    for (const name of ['nobody', 'NOBODY', '%00', "'--", '01900000-0000-7000-8000-000000000000']) {
      expectProblem(await service.operator().get(`/admin/v1/tenants/${name}`), 404, 'not_found', []);
    }
  });
});

describe.each(['shared', 'schema'] as const)('a tenant with isolation %s', (isolation) => {
  it('is created, found by slug and by id, and its owner can log in at once', async () => {
    const slug = `made-${isolation}`;
    // The slug has been asked for before, and was nobody's.
    await login(slug).expect(401);
    const created = await create({ ...input(slug, isolation), name: ' Made ', limits: { users: 5 } }).expect(
      201,
    );
    const tenant = created.body as TenantBody;
    expect(created.headers['location']).toBe(`/admin/v1/tenants/${tenant.id}`);
    expect(tenant).toEqual({
      id: expect.stringMatching(/^[\da-f-]{14}7[\da-f-]{21}$/),
      slug,
      name: 'Made',
      isolation,
      status: 'active',
      statusSince: expect.any(String),
      legalHold: null,
      canary: false,
      movedFrom: null,
      limits: { users: 5 },
      schemaVersion: expect.stringMatching(/^\d{4}_\w+/),
      version: 1,
      createdAt: expect.any(String),
      updatedAt: expect.any(String),
    });
    await login(slug).expect(200);
    await login(tenant.id).expect(200);
    for (const name of [slug, tenant.id, tenant.id.toUpperCase()]) {
      await service.operator().get(`/admin/v1/tenants/${name}`).expect(200, tenant);
    }
  });

  it('has a slug of its own, whatever the isolation of the other', async () => {
    await create(input(`taken-${isolation}`, isolation)).expect(201);
    await unchanged(database, async () => {
      for (const same of ['shared', 'schema']) {
        expectProblem(await create(input(`taken-${isolation}`, same)), 409, 'slug_taken', ['/slug']);
      }
    });
  });

  it('is made once when two are asked for with one slug at the same time', async () => {
    const token = await operatorToken();
    const body = input(`raced-${isolation}`, isolation);
    const answers = await Promise.all(
      [1, 2, 3].map(() => wire.json(token, 'POST', '/admin/v1/tenants', body)),
    );
    expect(statusesOf(answers)).toEqual([201, 409, 409]);
    for (const answer of answers.filter(({ status }) => status === 409)) {
      expectProblem(answer, 409, 'slug_taken', ['/slug']);
    }
    await login(body.slug).expect(200);
  });

  it('can be made beside others at the same time', async () => {
    const token = await operatorToken();
    const slugs = Array.from({ length: 6 }, (_, index) => `beside-${isolation}-${index}`);
    const answers = await Promise.all(
      slugs.map((slug) => wire.json(token, 'POST', '/admin/v1/tenants', input(slug, isolation))),
    );
    expect(answers.map(({ status }) => status)).toEqual(slugs.map(() => 201));
    for (const slug of slugs) await login(slug).expect(200);
  });
});

describe('the list of tenants', () => {
  const list = async (query: string) =>
    (await service.operator().get(`/admin/v1/tenants${query}`).expect(200)).body as TenantPage;

  it('shows every tenant once, in the order of their making, page by page', async () => {
    for (let n = 0; n < 5; n += 1) await create(input(`listed-${n}`)).expect(201);
    const rows = await database.superuser<{ slug: string }>(
      'select slug from control.tenants order by created_at, id',
    );
    const all = rows.map(({ slug }) => slug);
    for (const [sort, expected] of [
      ['createdAt', all],
      ['-createdAt', all.toReversed()],
    ] as const) {
      const seen: string[] = [];
      let query = `?limit=3&sort=${sort}`;
      for (;;) {
        const { data, page } = await list(query);
        seen.push(...data.map(({ slug }) => slug));
        if (page.next === null) break;
        query = `?limit=3&sort=${sort}&cursor=${page.next}`;
      }
      expect(seen).toEqual(expected);
    }
    expect((await list('?limit=1&count=exact')).page.total).toBe(all.length);
  });
});
