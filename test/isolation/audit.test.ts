import { beforeAll, describe, expect, it } from '@jest/globals';
import { v7 as uuidv7 } from 'uuid';
import { type AuditEvent, recordEvent } from '../../src/db/index.ts';
import { auditEvents } from '../../src/features/audit-events/repository.ts';
import { withoutPolicies } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { useHoldings } from '../support/holdings.ts';
import { sqlStateOf } from '../support/outcome.ts';
import { allRows, expectSameRows } from '../support/rows.ts';
import { plantStrays } from '../support/stray.ts';
import { problemOf, useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
const service = useTenantry(database, { env: { READ_AFTER_WRITE_WINDOW_MS: '3600000' } });
const { heldBy } = useHoldings(service);
beforeAll(() => plantStrays(database));

const event: AuditEvent = { action: 'test.event', resource: 'tests', resourceId: null };
const sort = { field: 'createdAt', direction: 'asc' } as const;

async function eventIds(slug: string): Promise<string[]> {
  const { id, scope } = heldBy(slug).tenant;
  return (await allRows(database))
    .filter(({ place, row }) => place === `${scope.tenant.schema}.audit_events` && row.tenant_id === id)
    .map(({ row }) => row.id)
    .toSorted();
}

describe.each(['ash', 'cedar'])('the audit of the tenant %s', (slug) => {
  const own = () => heldBy(slug).tenant;

  it('holds its own events, all of them and no others', async () => {
    const { body } = await own().client.get('/v1/audit-events?limit=100&count=exact').expect(200);
    const { data, page } = body as { data: { id: string }[]; page: { total: number; next: string | null } };
    expect(page.next).toBeNull();
    expect(data.map(({ id }) => id).toSorted()).toEqual(await eventIds(slug));
    expect(page.total).toBe(data.length);
  });

  it('does so where no policy binds, too', async () => {
    const rows = await withoutPolicies(database, own().scope.tenant, async (session) => {
      const page = await auditEvents.page(session, { limit: 100, sort });
      expect(await auditEvents.count(session)).toBe(page.rows.length);
      return page.rows;
    });
    expect(rows.map(({ id }) => id).toSorted()).toEqual(await eventIds(slug));
  });

  it('takes the event of another tenant for one that there is not', async () => {
    const bytes = async (id: string) =>
      problemOf(await own().client.get(`/v1/audit-events/${id}`).expect(404));
    const unknown = await bytes(uuidv7());
    for (const other of ['birch', 'dogwood']) {
      const [foreign = ''] = await eventIds(other);
      expect(await bytes(foreign)).toEqual(unknown);
    }
    const [mine = ''] = await eventIds(slug);
    await own().client.get(`/v1/audit-events/${mine}`).expect(200);
  });

  it('finds nothing of others by their actors, resources and requests', async () => {
    for (const other of ['birch', 'dogwood']) {
      const foreign = heldBy(other);
      for (const filter of [
        `filter[actor]=${foreign.tenant.scope.actor.id}`,
        `filter[resourceId]=${foreign.products.live}`,
      ]) {
        const { body } = await own().client.get(`/v1/audit-events?count=exact&${filter}`).expect(200);
        expect(body).toMatchObject({ data: [], page: { total: 0 } });
      }
    }
  });

  it('takes no event in the name of another tenant, in neither place', async () => {
    const { db } = service.tenantry.data;
    const before = await allRows(database);
    const other = heldBy('birch').tenant.id;
    for (const [table, column] of [
      ['audit_events', 'tenant_id'],
      ['control.audit_events', 'tenant'],
    ] as const) {
      const text = `insert into ${table} (${column}, action, resource, actor_kind, actor_id) values ($1, 'x', 'x', 'operator', 'x')`;
      const refused = await sqlStateOf(() =>
        db.write(own().scope, (session) => session.query(text, [other])),
      );
      expect([table, refused]).toEqual([table, '42501']);
    }
    expectSameRows(await allRows(database), before);
  });

  it('of the platform hears from the tenant only what operators did', async () => {
    const { db } = service.tenantry.data;
    const heard = () => database.superuser(`select id from control.audit_events where action = 'test.event'`);
    await db.writeOne(own().scope, (session) => recordEvent(session, event));
    expect(await heard()).toEqual([]);
    const insert = `insert into control.audit_events (tenant, action, resource, actor_kind, actor_id) values ($1, 'x', 'x', 'user', 'x')`;
    expect(
      await sqlStateOf(() => db.write(own().scope, (session) => session.query(insert, [own().id]))),
    ).toBe('42501');
  });

  it('cannot end tokens of another tenant', async () => {
    const { db, issued } = service.tenantry.data;
    const foreign = heldBy('birch').tenant;
    const text = `insert into control.revocations (tenant, subject, version, revoked_at) values ($1, $2, 99, now())
      on conflict (tenant, subject) do update set version = 99`;
    const values = [foreign.id, foreign.scope.actor.id];
    expect(await sqlStateOf(() => db.write(own().scope, (s) => s.query(text, values)))).toBe('42501');
    const update = `update control.revocations set version = 99 where tenant = $1 returning version`;
    const changed = await db.write(own().scope, (s) => s.query(update, [foreign.id]));
    expect(changed).toEqual([]);
    // The id of a user is one of a tenant: the same id elsewhere is somebody else.
    await db.write(own().scope, (s) => issued.revocations.revoke(s, foreign.scope.actor.id, 99));
    issued.revocations.note(own().id, foreign.scope.actor.id, 99);
    await foreign.client.get('/v1/products').expect(200);
  });
});
