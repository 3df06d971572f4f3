import { afterEach, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { password, useTenantry } from '../support/tenantry.ts';
import { unchanged } from '../support/untouched.ts';

const database = useDatabase();
const service = useTenantry(database);

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

describe('provisioning that fails half-way', () => {
  const undo: string[] = [];
  afterEach(async () => {
    for (const statement of undo.splice(0)) await database.superuser(statement);
  });

  async function schemaIsThere(name: string): Promise<boolean> {
    return (await database.superuser(`select from pg_namespace where nspname = $1`, [name])).length > 0;
  }

  it('leaves nothing when the schema is there already', async () => {
    await database.superuser('create schema tenant_squatted');
    await unchanged(database, async () => {
      const answer = await create(input('squatted', 'schema'));
      expectProblem(answer, 500, 'internal', []);
      expect(answer.text).not.toMatch(/schema|squatted/i);
    });
    await database.superuser('drop schema tenant_squatted');
    await create(input('squatted', 'schema')).expect(201);
    await login('squatted').expect(200);
  });

  it('leaves nothing when a migration fails', async () => {
    await database.superuser(`
      create function public.refuse_lines() returns event_trigger language plpgsql as $$
      begin
        if exists (select from pg_event_trigger_ddl_commands() where object_identity = 'tenant_halved.order_lines')
        then raise exception 'no more'; end if;
      end $$`);
    await database.superuser(
      'create event trigger refuse_lines on ddl_command_end execute function public.refuse_lines()',
    );
    undo.push('drop event trigger if exists refuse_lines', 'drop function public.refuse_lines()');
    await unchanged(database, async () => {
      expectProblem(await create(input('halved', 'schema')), 500, 'internal');
    });
    expect(await schemaIsThere('tenant_halved')).toBe(false);
    await login('halved').expect(401);
    await database.superuser('drop event trigger refuse_lines');
    await create(input('halved', 'schema')).expect(201);
    await login('halved').expect(200);
  });

  it('leaves nothing when its owner cannot be written', async () => {
    await database.superuser(`
      create function public.refuse_owner() returns trigger language plpgsql as $$
      begin raise exception 'no owner'; end $$`);
    await database.superuser(
      'create trigger refuse_owner before insert on shared.users execute function public.refuse_owner()',
    );
    undo.push('drop trigger if exists refuse_owner on shared.users', 'drop function public.refuse_owner()');
    await unchanged(database, async () => {
      expectProblem(await create(input('ownerless')), 500, 'internal');
    });
    await database.superuser('drop trigger refuse_owner on shared.users');
    await create(input('ownerless')).expect(201);
    await login('ownerless').expect(200);
  });
});
