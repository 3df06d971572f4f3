import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { systemClock } from '../../src/clock.ts';
import { limits } from '../../src/db/limits.ts';
import { createLookUp } from '../../src/db/look-up.ts';
import { createPools, type NodePool } from '../../src/db/pool.ts';
import type { NodeState, NodeView } from '../../src/db/router.ts';
import { schemaName } from '../../src/db/scope.ts';
import { useCluster } from '../support/own-cluster.ts';

const own = useCluster({ replicas: 1 });

let pools: NodePool[];
let primaryState: NodeState = 'fresh';

beforeAll(async () => {
  const { DATABASE_URL = '', DATABASE_REPLICA_URLS = '' } = own.database.env();
  pools = createPools([DATABASE_URL, DATABASE_REPLICA_URLS], undefined, { max: 2, limits: limits.serving });
  await own.database.superuser('create table shared.told as select 1 as number');
  await own.database.superuser('grant select on shared.told to tenantry_app');
  await own.cluster.caughtUp();
});
afterAll(() => Promise.all(pools.map((pool) => pool.end())));

function view(id: number, role: NodeView['role'], state: NodeState): NodeView {
  const name = role === 'primary' ? role : `replica-${id}`;
  return { id, name, role, state, lagMs: 0, provenMs: 0, lsn: 0n, timeline: 1, load: 0 };
}

function lookUp(number: number): Promise<object[]> {
  const look = createLookUp({
    clock: systemClock,
    prepared: false,
    poolMax: 2,
    monitor: {
      views: () => [view(0, 'primary', primaryState), view(1, 'replica', 'fresh')],
      reportLost: () => undefined,
      primaryTimeline: () => 1,
    },
    withLease(id, _who, fn) {
      const pool = pools[id];
      if (pool === undefined) throw new Error(`There is no server ${id}`);
      return pool.withLease(fn);
    },
  });
  return look(schemaName('shared'), 'select number from shared.told where number = $1', [number]);
}

it.each(['fresh', 'down'] as const)(
  'finds what only the primary knows, while that is taken for %s',
  async (state) => {
    primaryState = state;
    await own.cluster.pauseReplay(0, async () => {
      const [row] = await own.database.superuser<{ number: number }>(
        'insert into shared.told select max(number) + 1 from shared.told returning number',
      );
      expect(await lookUp(row?.number ?? 0)).toEqual([row]);
    });
  },
);

it.each(['fresh', 'down'] as const)(
  'finds nothing that nobody knows, while the primary is taken for %s',
  async (state) => {
    primaryState = state;
    expect(await lookUp(-1)).toEqual([]);
  },
);

it.each(['fresh', 'down'] as const)(
  'asks the replica while the primary is dead and taken for %s',
  async (state) => {
    primaryState = state;
    await own.cluster.kill('primary');
    try {
      expect(await lookUp(1)).toEqual([{ number: 1 }]);
      expect(await lookUp(-1)).toEqual([]);
    } finally {
      await own.cluster.restart('primary');
    }
  },
);
