import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { v7 as uuidv7 } from 'uuid';
import type { TenantScope, WriteSession } from '../../src/db/index.ts';
import { testPostgres, useDatabase } from '../support/database.ts';
import { createHoldings, emailOf, type Held, type Holdings, skuOf } from '../support/holdings.ts';
import { outcomeOf } from '../support/outcome.ts';
import { type PgBouncers, startPgBouncers } from '../support/pgbouncer.ts';
import { describeWith } from '../support/require-server.ts';
import { expectSameRows, othersRows } from '../support/rows.ts';
import { replicasFresh, startTenantry, type TestTenant, type TestTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';
import { functionsOf, plant, spoken, type Target } from './kernel-functions.ts';
import { lists } from './registry.ts';

/**
 * All tenants at the same time, with their own ids and with those of others, while one connection to each server serves
 * all of them: what one leaves on it, the next would find.
 */
const database = useDatabase();
const resources: Held[] = ['users', 'products', 'orders', 'api-keys'];

describe('with one connection to each server', () => {
  suite('direct', async () => ({ DATABASE_POOL_MAX: '1' }));
});

describeWith('pgbouncer', 'through PgBouncer with one backend for each server', (program) => {
  let bouncers: PgBouncers | undefined;
  afterAll(() => bouncers?.stop());
  suite('pooled', async () => {
    const { DATABASE_URL = '', DATABASE_REPLICA_URLS = '' } = database.env();
    const direct = [DATABASE_URL, ...DATABASE_REPLICA_URLS.split(',').filter(Boolean)];
    bouncers = await startPgBouncers(program, direct, { poolSize: 1 });
    const [primary = '', ...replicas] = bouncers.urls;
    return {
      DATABASE_URL: primary,
      DATABASE_REPLICA_URLS: replicas.join(','),
      DATABASE_PREPARED_STATEMENTS: 'off',
    };
  });
});

/** Does it all again until a replica, if there is one, was among those that answered: it may be stale for a moment. */
function untilReplicaAnswers(answered: ReadonlySet<string>, work: () => Promise<unknown>): Promise<void> {
  const replicas = testPostgres().replicaUrls.length;
  return until(
    async () => {
      await work();
      return replicas === 0 || answered.has('replica');
    },
    'a replica to answer',
    25_000,
  );
}

const foreignIds = (held: Holdings) => resources.flatMap((name) => [held[name].live, held[name].deleted]);

/** Of what a tenant holds, for every filter that lists take. */
const valuesOf = ({ tenant: { slug }, users }: Holdings, resource: Held): Record<string, string> => ({
  email: emailOf(slug, 'live'),
  role: 'member',
  sku: skuOf(slug, 'live'),
  name: resource === 'api-keys' ? `live-${slug}` : slug,
  currency: 'USD',
  status: 'placed',
  customerId: users.live,
});

/** @param name begins the slugs of its tenants */
function suite(name: string, settings: () => Promise<Record<string, string>>): void {
  let service: TestTenantry;
  let holdings: Holdings[];
  /** Slug → table → its own row. */
  const own: Record<string, Record<string, Target>> = {};

  beforeAll(async () => {
    service = await startTenantry(database, { env: await settings() });
    holdings = [];
    for (const [at, isolation] of (['shared', 'shared', 'schema', 'schema'] as const).entries()) {
      holdings.push(await createHoldings(await service.onboard(`${name}_${at}`, isolation)));
    }
    for (const { tenant } of holdings) {
      own[tenant.slug] = await service.tenantry.data.db.write(tenant.scope, async (session) => {
        const rows: Record<string, Target> = {};
        for (const [table, row] of spoken) rows[table] = await plant(session, row, 'live');
        return rows;
      });
    }
    await database.caughtUp();
    await replicasFresh(service);
  });
  afterAll(() => service?.tenantry.stop());

  /** Somebody who has written nothing, whose reads replicas answer. */
  const reader = ({ scope }: TestTenant): TenantScope => ({
    ...scope,
    actor: { kind: 'user', id: uuidv7() },
    consistency: { level: { kind: 'session' }, served: ({ role }) => void roles.add(role) },
  });
  const roles = new Set<string>();

  it.each(spoken)(
    'every look-up of %s finds its own row and no other, reading and writing',
    async (table, row) => {
      const { lookUps } = functionsOf(row);
      const { db } = service.tenantry.data;
      const look = async (session: WriteSession, slug: string, owner: string, locking: boolean) => {
        const target = own[owner]?.[table] as Target; // planted above
        for (const [title, call, absent] of lookUps) {
          if (!locking && title.endsWith('locked')) continue;
          const answer = await outcomeOf(() => call(session, target));
          if (owner !== slug) expect([title, answer]).toEqual([title, absent]);
          else expect([title, JSON.stringify(answer)]).toEqual([title, expect.stringContaining(target.id)]);
        }
      };
      roles.clear();
      const all = () =>
        holdings.flatMap(({ tenant }) =>
          holdings.map(async ({ tenant: { slug: owner } }) => {
            await db.read(reader(tenant), (session) =>
              look(session as WriteSession, tenant.slug, owner, false),
            );
            await db.write(tenant.scope, (session) => look(session, tenant.slug, owner, true));
          }),
        );
      await untilReplicaAnswers(roles, () => Promise.all(all()));
    },
  );

  it.each(spoken)(
    'every change of %s that others own is refused, and changes nothing',
    async (table, row) => {
      const { db } = service.tenantry.data;
      const [first, ...others] = holdings as [Holdings, ...Holdings[]];
      const before = await othersRows(database, first.tenant.id);
      await Promise.all(
        others.flatMap(({ tenant: { slug: owner } }) =>
          functionsOf(row).changes.map(async ([title, call, absent]) => {
            const target = own[owner]?.[table] as Target; // planted above
            const change = () => db.write(first.tenant.scope, (session) => call(session, target));
            expect([title, await outcomeOf(change)]).toEqual([title, absent]);
          }),
        ),
      );
      expectSameRows(await othersRows(database, first.tenant.id), before);
    },
  );

  describe.each(['session', 'any'])('with Read-Consistency: %s', (level) => {
    it.each(resources)('requests for %s are answered with own rows, or with 404', async (resource) => {
      const served = new Set<string>();
      const ask = async (client: TestTenant['client'], path: string) => {
        const answer = await client.get(path).set('Read-Consistency', level);
        served.add(String(answer.headers['served-by']).replace(/[-;].*/, ''));
        return answer;
      };
      const filters = Object.keys(lists[resource]?.filterable ?? {});
      const calls = () =>
        holdings.flatMap(({ tenant: { client, slug } }) =>
          holdings.map(async (held) => {
            const theirs = held.tenant.slug !== slug;
            const { live, deleted } = held[resource];
            const one = await ask(client, `/v1/${resource}/${live}`);
            expect([live, one.status]).toEqual([live, theirs ? 404 : 200]);
            expect((await ask(client, `/v1/${resource}/${deleted}`)).status).toBe(404);
            await client.delete(`/v1/${resource}/${deleted}`).expect(404);
            const values = valuesOf(held, resource);
            const known = filters.filter((field) => field in values);
            for (const filter of ['', ...known.map((field) => `&filter[${field}]=${values[field]}`)]) {
              const include = resource === 'orders' ? '&include=lines' : '';
              const { text, status } = await ask(client, `/v1/${resource}?limit=100${filter}${include}`);
              expect([filter, status]).toEqual([filter, 200]);
              if (!theirs) expect([filter, text]).toEqual([filter, expect.stringContaining(live)]);
              for (const id of theirs ? foreignIds(held) : []) {
                expect([filter, text]).toEqual([filter, expect.not.stringContaining(id)]);
              }
            }
          }),
        );
      // The primary alone answers in routes.test.ts and lists.test.ts.
      await untilReplicaAnswers(served, () => Promise.all(calls()));
    });
  });

  it('nothing is left on a connection', () => {
    expect(service.tenantry.data.db.nodes().map(({ pool }) => pool.tainted)).toEqual(
      service.tenantry.data.db.nodes().map(() => 0),
    );
  });
}
