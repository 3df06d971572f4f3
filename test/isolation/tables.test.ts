import { beforeAll, describe, expect, it } from '@jest/globals';
import { v7 as uuidv7 } from 'uuid';
import type { Decision, TenantScope, WriteSession } from '../../src/db/index.ts';
import { withConnection, withoutPolicies } from '../support/connection.ts';
import { testPostgres, useDatabase } from '../support/database.ts';
import { outcomeOf } from '../support/outcome.ts';
import { allRows, type AnyRow, expectSameRows, newEvents, withoutEvents } from '../support/rows.ts';
import { plantStrays } from '../support/stray.ts';
import { replicasFresh, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';
import {
  type Entry,
  functionsOf,
  nowhere,
  plant,
  plantBatch,
  type Spoken,
  spoken,
  type Target,
  toldOf,
} from './kernel-functions.ts';

/**
 * Every function of every repository, for a tenant of each isolation, with its own row, rows of others, deleted rows and
 * none: made from the registry. What the functions do in detail is in repositories.test.ts.
 */
const database = useDatabase();
const service = useTenantry(database);
const db = () => service.tenantry.data.db;

const tenants: Record<string, TestTenant> = {};
/** Table → kind → a row that is not the tenant's. */
const elsewhere: Record<string, Record<string, Target>> = {};

beforeAll(async () => {
  for (const [slug, isolation] of [
    ['ash', 'shared'],
    ['birch', 'shared'],
    ['cedar', 'schema'],
    ['dogwood', 'schema'],
  ] as const) {
    tenants[slug] = await service.onboard(slug, isolation);
  }
  for (const [name, table] of spoken) {
    const rows: Record<string, Target> = { 'of nobody': nowhere() };
    for (const slug of ['birch', 'dogwood']) {
      for (const state of ['live', 'deleted'] as const) {
        rows[`of ${slug}, ${state}`] = await plantFor(slug, table, state);
      }
    }
    elsewhere[name] = rows;
  }
  await plantStrays(database);
});

function tenantOf(slug: string): TestTenant {
  const tenant = tenants[slug];
  if (tenant === undefined) throw new Error(`there is no tenant ${slug}`);
  return tenant;
}

function plantFor(slug: string, table: Spoken, state: 'live' | 'deleted'): Promise<Target> {
  return db().write(tenantOf(slug).scope, (session) => plant(session, table, state));
}

/** Rows with the id of the tenant's own, of others and in the same table. Nothing but the tenant tells them apart. */
async function plantTwins(slug: string, name: string, { id }: Target): Promise<void> {
  const { id: own, scope } = tenantOf(slug);
  const place = `${scope.tenant.schema}.${name}`;
  await withConnection(database.superuserUrl(), async (client) => {
    await client.query('set session_replication_role = replica'); // their references are to nothing
    for (const other of ['birch', 'dogwood']) {
      await client.query(
        `insert into ${place} select twin.* from ${place} t, jsonb_populate_record(t, $3) twin
         where t.tenant_id = $1 and t.id = $2`,
        [own, id, { tenant_id: tenantOf(other).id }],
      );
    }
    // Written once more, so that a scan comes to it last.
    await client.query(`update ${place} set version = version where tenant_id = $1 and id = $2`, [own, id]);
  });
}

type Unit = <T>(slug: string, fn: (session: WriteSession) => Promise<T>) => Promise<T>;
const inUnit: Unit = (slug, fn) => db().write(tenantOf(slug).scope, fn);
const ways: [string, Unit][] = [
  ['in a unit of work', inUnit],
  ['where no policy binds', (slug, fn) => withoutPolicies(database, tenantOf(slug).scope.tenant, fn)],
];

/** All in one unit of work, which none of these answers ends. */
async function absentEverywhere(
  session: WriteSession,
  entries: readonly Entry[],
  targets: Record<string, Target>,
): Promise<void> {
  for (const [title, call, absent] of entries) {
    for (const [kind, target] of Object.entries(targets)) {
      const answer = await outcomeOf(() => call(session, target));
      expect([title, kind, answer]).toEqual([title, kind, absent]);
    }
  }
}

async function foundAlone(session: WriteSession, entries: readonly Entry[], target: Target): Promise<void> {
  for (const [title, call] of entries) {
    const rows = [await call(session, target)].flat() as ({ id: string } | string)[];
    const ids = rows.map((row) => (typeof row === 'string' ? row : row.id));
    expect([title, ids]).toEqual([title, [target.id]]);
  }
}

describe.each(spoken)('the repository of %s', (name, table) => {
  const { lookUps, changes, returns } = functionsOf(table);
  const others = () => elsewhere[name] ?? {};

  describe.each(['ash', 'cedar'])('of the tenant %s', (slug) => {
    const isTarget =
      ({ id }: Target) =>
      ({ row }: AnyRow) =>
        row.id === id && row.tenant_id === tenantOf(slug).id;

    const eventOf = (title: string, { id }: Target) => ({
      place: `${tenantOf(slug).scope.tenant.schema}.audit_events`,
      row: expect.objectContaining({
        tenant_id: tenantOf(slug).id,
        resource: name,
        ...toldOf(title, id),
      }) as object,
    });

    describe.each(ways)('%s', (_way, unit) => {
      it('finds its own row and no twin of it', async () => {
        const target = await plantFor(slug, table, 'live');
        await plantTwins(slug, name, target);
        await unit(slug, (session) => foundAlone(session, lookUps, target));
      });

      it('takes every other row for absent', async () => {
        const deleted = { 'its own, deleted': await plantFor(slug, table, 'deleted') };
        const before = await allRows(database);
        await unit(slug, async (session) => {
          await absentEverywhere(session, [...lookUps, ...changes], { ...others(), ...deleted });
          await absentEverywhere(session, returns, others());
        });
        expectSameRows(await allRows(database), before);
      });

      it('changes its own row alone', async () => {
        for (const [title, call] of [...changes, ...returns]) {
          const state = returns.some(([other]) => other === title) ? 'deleted' : 'live';
          const target = await plantFor(slug, table, state);
          await plantTwins(slug, name, target);
          const before = await allRows(database);
          await unit(slug, (session) => call(session, target));
          const after = await allRows(database);
          const its = after.find(isTarget(target));
          expect([title, its]).not.toEqual([title, before.find(isTarget(target))]);
          const besides = (rows: AnyRow[]) => withoutEvents(rows).filter((row) => !isTarget(target)(row));
          expectSameRows(besides(after), besides(before), title);
          for (const event of newEvents(before, after)) {
            expect([title, event]).toEqual([title, eventOf(title, target)]);
          }
        }
      });
    });

    it('writes a batch for its own tenant alone', async () => {
      const before = await allRows(database);
      const given = await inUnit(slug, (session) => plantBatch(session, table));
      const known = new Set(before.map(({ place, row }) => `${place} ${row.tenant_id} ${row.id}`));
      const made = (await allRows(database)).filter(
        ({ place, row }) => !known.has(`${place} ${row.tenant_id} ${row.id}`),
      );
      expect(new Set(made.map(({ row }) => row.tenant_id))).toEqual(new Set([tenantOf(slug).id]));
      const ids = made.filter(({ place }) => place.endsWith(`.${name}`)).map(({ row }) => row.id);
      expect(ids).toEqual(expect.arrayContaining(given.filter((id) => id !== null)));
      expect(given.slice(0, 2)).toEqual([expect.any(String), expect.any(String)]);
    });

    it('cannot be made to refer to a row of another tenant', async () => {
      const { id } = await plantFor(slug, table, 'live');
      const before = await allRows(database);
      for (const [field, target] of Object.entries(table.references)) {
        for (const other of Object.values(elsewhere[target] ?? {})) {
          const refer = () =>
            inUnit(slug, (session) => table.repository.update(session, id, { [field]: other.id }));
          expect([field, await outcomeOf(refer)]).toEqual([field, expect.any(String)]);
        }
      }
      expectSameRows(await allRows(database), before);
    });

    it('finds its own row on a replica, and takes every other for absent', async () => {
      if (testPostgres().replicaUrls.length === 0) return;
      const own = await plantFor(slug, table, 'live');
      await database.caughtUp();
      await replicasFresh(service);
      let served: Decision | undefined;
      const reader = (): TenantScope => ({
        ...tenantOf(slug).scope,
        actor: { kind: 'user', id: uuidv7() },
        consistency: { level: { kind: 'session' }, served: (decision) => (served = decision) },
      });
      const reads = lookUps.filter(([title]) => !title.endsWith('locked'));
      await until(async () => {
        await db().read(reader(), async (session) => {
          // A look-up asks for no more than it is given: what writes among them would be refused with 25006.
          await foundAlone(session as WriteSession, reads, own);
          await absentEverywhere(session as WriteSession, reads, others());
        });
        return served?.role === 'replica';
      }, 'a replica to answer');
    });
  });
});
