import { beforeAll, describe, expect, it, jest } from '@jest/globals';
import { withConnection } from '../support/connection.ts';
import { useCluster } from '../support/own-cluster.ts';
import { readFigures } from '../support/exposition.ts';
import { replicasFresh, type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

jest.setTimeout(60_000);

const own = useCluster({ replicas: 1 });
const service = useTenantry(own.database);

let flooding: TestTenant;
let quiet: TestTenant;
beforeAll(async () => {
  flooding = await service.onboard('flooding', 'shared');
  quiet = await service.onboard('quiet', 'schema');
  await own.cluster.caughtUp();
  await replicasFresh(service);
});

const lock = 4711;
const clients = 64;
const db = () => service.tenantry.data.db;

type Kind = 'read' | 'write';
const nodeOf: Record<Kind, number> = { write: 0, read: 1 };

/** Runs `fn` while 64 clients of one tenant have statements that do not end: as slow as slow can be, and no slower. */
async function underFlood(kind: Kind, fn: () => Promise<void>): Promise<PromiseSettledResult<unknown>[]> {
  const scope = { ...flooding.scope, consistency: { level: { kind: 'any' as const } } };
  const node = () => db().nodes()[nodeOf[kind]];
  let settled: Promise<PromiseSettledResult<unknown>[]> = Promise.resolve([]);
  await withConnection(urlOf(kind), async (holder) => {
    await holder.query(`select pg_advisory_lock(${lock})`);
    const underWay = Array.from({ length: clients }, () =>
      db()[kind](scope, (session) => session.query(`select pg_advisory_xact_lock_shared(${lock})`)),
    );
    settled = Promise.allSettled(underWay);
    await until(
      () => node()?.pool.inUse === 8 && node()?.pool.waiting === clients - 8,
      'the flood to be held back',
    );
    await fn();
  });
  return settled;
}

function urlOf(kind: Kind): string {
  const url = new URL(own.database.superuserUrl());
  const server = kind === 'write' ? own.cluster.primaryUrl : own.cluster.replicaUrls[0];
  return Object.assign(new URL(server ?? ''), { pathname: url.pathname }).href;
}

describe('F33: one tenant takes all that it can get', () => {
  it.each(['read', 'write'] as const)(
    'by statements that do not end (%s), and another tenant logs in, reads and writes meanwhile',
    async (kind) => {
      const outcomes = await underFlood(kind, async () => {
        const client = await service.login(quiet.slug, quiet.ownerEmail, 'a password of tests');
        const product = { sku: `${kind}-1`, name: 'x', priceCents: 1, stock: 1 };
        const { body } = await client.post('/v1/products').send(product).expect(201);
        await client.get(`/v1/products/${(body as { id: string }).id}`).expect(200);
        const anywhere = client.get('/v1/products').set('Read-Consistency', 'any');
        expect((await anywhere.expect(200)).headers['served-by']).toMatch(/^replica-1/);
        // Its own users can still log in, too.
        await service.login(flooding.slug, flooding.ownerEmail, 'a password of tests');
      });
      // What was held back has its turn, or is refused if that took too long.
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') {
          expect(outcome.reason).toMatchObject({ code: 'unavailable', retryAfterS: 1 });
        }
      }
    },
  );

  it('and two that never were looked up find their way to the data plane', async () => {
    await underFlood('write', async () => {
      const { find } = service.tenantry.data.directory;
      for (const slug of ['nobody-1', 'nobody-2']) expect(await find(slug)).toBeUndefined();
    });
  });

  it('tells how many had to wait, in the metrics and to operators', async () => {
    const { text } = await service.admin().get('/metrics').expect(200);
    const figures = readFigures(text);
    const waits = (node: string) => figures.sum('tenantry_admission_waits_total', { node });
    const refused = figures.sum('tenantry_admission_refusals_total', { node: 'primary' });
    expect(waits('primary')).toBeGreaterThanOrEqual(2 * (clients - 8));
    expect(waits('replica-1')).toBeGreaterThanOrEqual(clients - 8);
    const { body } = await service.operator().get('/admin/v1/cluster').expect(200);
    const [primary] = (body as { nodes: { admission: object }[] }).nodes;
    expect(primary?.admission).toEqual({ waiting: 0, waited: waits('primary'), refused });
  });
});
