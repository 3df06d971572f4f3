import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type ReadSession, schemaName, type TenantScope, type WriteSession } from '../../src/db/index.ts';
import { products } from '../../src/features/products/repository.ts';
import { useDatabase } from '../support/database.ts';
import { outcomeOf } from '../support/outcome.ts';
import { startTenantry, type TestTenant, type TestTenantry, useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
/** One connection, which every unit of work takes in turn, whoever it is for. */
const service = useTenantry(database, { env: { DATABASE_POOL_MAX: '1', DATABASE_REPLICA_URLS: '' } });
const db = () => service.tenantry.data.db;

const tenants: TestTenant[] = [];
beforeAll(async () => {
  for (const [slug, isolation] of [
    ['ash', 'shared'],
    ['birch', 'shared'],
    ['cedar', 'schema'],
    ['dogwood', 'schema'],
  ] as const) {
    const tenant = await service.onboard(slug, isolation);
    await db().write(tenant.scope, (session) => products.insert(session, product(slug, 0)));
    tenants.push(tenant);
  }
});

const product = (name: string, n: number) => ({
  sku: `${name}-${n}`,
  name,
  description: null,
  priceCents: 1,
  currency: 'USD',
  stock: 1,
});

interface Look {
  tenants: string[];
  names: string[];
  connection: number;
}

/** What a statement without WHERE sees, and on which connection. */
async function look(session: ReadSession): Promise<Look> {
  const [row] = await session.query<Look>(lookText);
  if (row === undefined) throw new Error('an aggregate has one row');
  return row;
}
const lookText = `select array(select distinct tenant_id::text from products) as tenants,
  array(select distinct name from products) as names, pg_backend_pid() as connection`;

/** On the same pool, without a tenant. */
const rawLook = async (schema: string) => (await db().lookUp<Look>(schemaName(schema), lookText, []))[0];
const tainted = () => db().nodes()[0]?.pool.tainted ?? NaN;
const own = ({ id, slug }: TestTenant) => ({ tenants: [id], names: [slug] });
const nothing = { tenants: [], names: [] };
const first = () => tenants[0] as TestTenant; // beforeAll has filled it

describe('a connection that goes from tenant to tenant', () => {
  it('shows each its own rows, and none to nobody', async () => {
    const connections = new Set<number | undefined>();
    for (const tenant of [...tenants, ...tenants.toReversed()]) {
      const read = await db().read(tenant.scope, look);
      const written = await db().write(tenant.scope, look);
      const raw = await rawLook(tenant.scope.tenant.schema);
      expect(read).toMatchObject(own(tenant));
      expect(written).toMatchObject(own(tenant));
      expect(raw).toMatchObject(nothing);
      for (const seen of [read, written, raw]) connections.add(seen?.connection);
    }
    expect(connections.size).toBe(1);
    expect(tainted()).toBe(0);
  });

  it('shows none to nobody after a unit of work that failed', async () => {
    for (const tenant of tenants) {
      const failed = db().write(tenant.scope, async (session) => {
        await session.query(`select set_config('app.tenant_id', $1, false)`, [first().id]);
        throw new Error('on purpose');
      });
      await expect(failed).rejects.toThrow('on purpose');
      expect(await rawLook(tenant.scope.tenant.schema)).toMatchObject(nothing);
    }
  });
});

describe('a unit of work', () => {
  it('cannot be used after its end, whether it was kept or given up', async () => {
    const kept: ReadSession[] = [];
    await db().read(first().scope, async (session) => kept.push(session));
    await db().write(first().scope, async (session) => kept.push(session));
    await db().writeOne(first().scope, async (session) => kept.push(session));
    await db()
      .write(first().scope, (session) => {
        kept.push(session);
        return Promise.reject(new Error('on purpose'));
      })
      .catch(() => undefined);
    expect(kept).toHaveLength(4);
    for (const session of kept)
      await expect(look(session)).rejects.toThrow('after its unit of work had ended');
  });

  it('that swallowed the failure of a statement does not pass for kept', async () => {
    const swallowing = () =>
      db().write(first().scope, async (session) => {
        await products.insert(session, product('swallowed', 1));
        await outcomeOf(() => session.query('select 1 / 0'));
        return 'kept';
      });
    await expect(swallowing()).rejects.toThrow('went on after a statement had failed');
    expect(await db().read(first().scope, look)).toMatchObject(own(first()));
  });

  it('of one statement that swallowed its failure does not pass for kept either', async () => {
    const swallowing = () =>
      db().writeOne(first().scope, async (session) => {
        await outcomeOf(() => session.query('select 1 / 0'));
        return 'kept';
      });
    await expect(swallowing()).rejects.toThrow('went on after a statement had failed');
    expect(await db().read(first().scope, look)).toMatchObject(own(first()));
  });

  it('of one statement sends no second one', async () => {
    const second = () =>
      db().writeOne(first().scope, async (session) => {
        await session.query('select 1');
        await session.query('select 2');
      });
    await expect(second()).rejects.toThrow('sent another one');
    expect(await db().read(first().scope, look)).toMatchObject(own(first()));
  });

  it.each(['commit', 'rollback'])(
    'that ended its transaction by itself, with %s, does not pass for kept',
    async (end) => {
      const ending = db().write(first().scope, (session) => session.query(end));
      await expect(ending).rejects.toThrow('ended its transaction');
    },
  );

  it('that failed leaves nothing of what it wrote', async () => {
    const failing = db().write(first().scope, async (session) => {
      await products.insert(session, product('failed', 1));
      throw new Error('on purpose');
    });
    await expect(failing).rejects.toThrow('on purpose');
    expect(await db().read(first().scope, look)).toMatchObject(own(first()));
  });
});

describe('a connection that a unit of work has marked', () => {
  const stop = () => Promise.reject(new Error('on purpose'));
  const setTenant = (session: ReadSession) =>
    session.query(`select set_config('app.tenant_id', $1, false)`, [tenants[1]?.id]);
  const setPath = (session: ReadSession) => session.query('set search_path = tenant_cedar, public');

  it.each<[string, (session: WriteSession) => Promise<unknown>]>([
    ['with the tenant of another', setTenant],
    ['with the schema of another', setPath],
    ['with both', async (session) => [await setTenant(session), await setPath(session)]],
    [
      'with a tenant, after it had ended its transaction by itself',
      async (session) => [await session.query('commit'), await setTenant(session), await stop()],
    ],
    [
      'with a schema, after it had ended its transaction by itself',
      async (session) => [await session.query('rollback'), await setPath(session), await stop()],
    ],
  ])('%s is thrown away and counted, and the next unit is right', async (_mark, mark) => {
    const before = tainted();
    let connection: number | undefined;
    await db()
      .write(first().scope, async (session) => {
        connection = (await look(session)).connection;
        await mark(session);
      })
      .catch((error: unknown) => expect(error).toEqual(new Error('on purpose')));
    expect(await rawLook('shared')).toMatchObject(nothing);
    for (const tenant of tenants) {
      const seen = await db().read(tenant.scope, look);
      expect(seen).toMatchObject(own(tenant));
      expect(seen.connection).not.toBe(connection);
    }
    expect(tainted()).toBe(before + 1);
  });

  it.each(['read', 'writeOne'] as const)('is thrown away after %s, too', async (unit) => {
    for (const mark of [setTenant, setPath]) {
      const before = tainted();
      await db()[unit](first().scope, mark);
      expect(await rawLook('shared')).toMatchObject(nothing);
      expect(tainted()).toBe(before + 1);
    }
  });
});

describe('many tenants at once on two connections', () => {
  let crowded: TestTenantry;
  beforeAll(async () => {
    crowded = await startTenantry(database, { env: { DATABASE_POOL_MAX: '2' } });
  });
  afterAll(() => crowded.tenantry.stop());

  it('never see a row of each other in thousands of interleaved reads and writes', async () => {
    const { db } = crowded.tenantry.data;
    const crowd: TestTenant[] = [];
    for (const n of [1, 2, 3]) {
      crowd.push(
        await crowded.onboard(`crowd_a${n}`, 'shared'),
        await crowded.onboard(`crowd_b${n}`, 'schema'),
      );
    }
    const rounds = 120;
    const crossings: unknown[] = [];
    let units = 0;

    async function work(tenant: TestTenant, worker: number): Promise<void> {
      // The odd ones may read from the replica, whatever their writes.
      const scope: TenantScope = {
        ...tenant.scope,
        actor: { kind: 'user', id: `worker-${worker}` },
        consistency: { level: { kind: worker % 2 === 0 ? 'strong' : 'session' } },
      };
      for (let round = 0; round < rounds; round += 1) {
        const sku = worker * rounds + round;
        const insert = (session: WriteSession) => products.insert(session, product(tenant.slug, sku));
        const row = await (round % 2 === 0 ? db.write(scope, insert) : db.writeOne(scope, insert));
        const seen = await db.read(scope, look);
        const found = await db.read(scope, (session) => products.find(session, row.id));
        units += 3;
        const right =
          seen.tenants.join() === tenant.id &&
          seen.names.join() === tenant.slug &&
          found?.name === tenant.slug;
        if (!right) crossings.push({ tenant: tenant.slug, seen, found });
      }
    }

    await Promise.all(crowd.flatMap((tenant) => [0, 1, 2].map((worker) => work(tenant, worker))));
    expect(crossings).toEqual([]);
    expect(units).toBe(6 * 3 * rounds * 3);
    for (const tenant of crowd) {
      expect(await db.read(tenant.scope, (session) => products.count(session))).toBe(3 * rounds);
      expect(await db.read(tenant.scope, look)).toMatchObject(own(tenant));
    }
    expect(db.nodes().map((node) => node.pool.tainted)).toEqual(db.nodes().map(() => 0));
  });
});
