import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { built, type Child, killChildren, repository, start } from '../support/child.ts';
import { useDatabase } from '../support/database.ts';
import { createHoldings } from '../support/holdings.ts';
import { guards, otherOf, placeOf, requestMove, rowsIn } from '../support/moving.ts';
import { ended } from '../support/purging.ts';
import { expectSameRows, othersRows } from '../support/rows.ts';
import { startTenantry, testSecret, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

jest.setTimeout(90_000);

const database = useDatabase();
const service = useTenantry(database);
// Nobody but the process that is to die takes the job.
beforeEach(() => service.tenantry.control?.worker.stop());
afterEach(killChildren);

const worker = (fatal: string): Child =>
  start(built('test/support/step-process.ts'), [fatal, 'work'], {
    cwd: repository,
    env: { ...database.env(), JWT_SECRET: testSecret, BCRYPT_COST: '4' },
  });
const last = (child: Child) => child.stdout().trim().split('\n').at(-1);
const product = (sku: string) => ({ sku, name: sku, priceCents: 1, stock: 1 });

/** As if the process had not been heard of for ten seconds. */
const forgetWorker = () =>
  database.superuser(
    `update control.jobs set heartbeat_at = now() - interval '1 minute' where status = 'running'`,
  );
const isolations = ['shared', 'schema'] as const;

const moveSteps = [
  ...['move: prepared', 'move: guarded', 'move: users is copied', 'move: copied', 'move: caught up'],
  ...['move: fenced', 'move: verified', 'move: flipped'],
];

/** Each step with one isolation or the other, by turns; with TEST_EVERY_STEP=1 with both, which takes as long again. */
function inTurn<Step>(step: Step, index: number): (readonly [Step, (typeof isolations)[number]])[] {
  const both = isolations.map((isolation) => [step, isolation] as const);
  return process.env['TEST_EVERY_STEP'] === '1' ? both : both.filter((_, at) => at === index % both.length);
}

describe('a move, killed after any of its steps', () => {
  it.each(moveSteps.flatMap(inTurn))(
    '%s (from %s): the tenant can write, the move goes on, and nothing is lost',
    async (step, isolation) => {
      const target = otherOf(isolation);
      const tenant = await service.onboard(`dies_${isolation}_${moveSteps.indexOf(step)}`, isolation);
      await createHoldings(tenant);
      const others = await othersRows(database, tenant.id);
      const child = worker(step);
      const { id } = await requestMove(service, tenant.slug, target);
      await child.ended();
      expect(last(child)).toBe(step);
      const written = async () =>
        (await tenant.client.post('/v1/products').send(product('since'))).status === 201;
      await until(written, 'a write, without anybody having done anything');

      await forgetWorker();
      const rescue = await startTenantry(database);
      const job = await ended(service, id);
      await rescue.tenantry.stop();
      expect(job).toMatchObject({ status: 'succeeded', attempts: 2 });
      const rows = await rowsIn(database, placeOf(tenant.slug, target), tenant.id);
      expect(rows.filter(({ row }) => row['sku'] === 'since')).toHaveLength(1);
      const source = await rowsIn(database, placeOf(tenant.slug, isolation), tenant.id);
      // After the flip the new row, and its event, are at the new place alone.
      const news = step === 'move: flipped' ? 2 : 0;
      expect(rows.length - source.length).toBe(news);
      expect(rows).toEqual(expect.arrayContaining(source));
      expectSameRows(await othersRows(database, tenant.id), others);
      await tenant.client.get('/v1/orders').expect(200);
    },
  );
});

describe('the end of a move that was cancelled, killed after any of its steps', () => {
  const steps = ['move back: unguarded', 'move back: cleared'];
  it.each(steps.flatMap(inTurn))(
    '%s (from %s): it is begun again, and the tenant is what it was',
    async (step, isolation) => {
      const tenant = await service.onboard(`undone_${isolation}_${steps.indexOf(step)}`, isolation);
      await createHoldings(tenant);
      const rows = await rowsIn(database, placeOf(tenant.slug, isolation), tenant.id);
      const dying = worker('move: copied');
      const { id } = await requestMove(service, tenant.slug, otherOf(isolation));
      await dying.ended();
      await service.operator().post(`/admin/v1/jobs/${id}/cancel`).expect(202);
      await forgetWorker();
      const child = worker(step);
      await child.ended();
      expect(last(child)).toBe(step);
      expect((await service.operator().get(`/admin/v1/jobs/${id}`)).body).toMatchObject({
        status: 'cancelled',
      });
      await forgetWorker();
      const rescue = await startTenantry(database);
      const status = async () =>
        ((await service.operator().get(`/admin/v1/tenants/${tenant.slug}`)).body as { status: string })
          .status;
      await until(async () => (await status()) === 'active', 'the tenant to be what it was', 40_000);
      await rescue.tenantry.stop();
      expect(await rowsIn(database, placeOf(tenant.slug, isolation), tenant.id)).toEqual(rows);
      expect(await rowsIn(database, placeOf(tenant.slug, otherOf(isolation)), tenant.id)).toEqual([]);
      expect(await guards(database, tenant.id)).toEqual([]);
    },
  );
});

it.each(['confirm: settled', 'confirm: cleared', 'confirm: unguarded'])(
  'confirming, killed after %s, is begun again',
  async (step) => {
    const tenant = await service.onboard(`confirmed_${step.slice(9)}`, 'shared');
    await createHoldings(tenant);
    const first = await startTenantry(database);
    await ended(service, (await requestMove(service, tenant.slug, 'schema')).id);
    await first.tenantry.stop();
    await database.superuser(
      `update control.tenants set moved_at = moved_at - interval '1 minute' where id = $1`,
      [tenant.id],
    );
    const rows = await rowsIn(database, `tenant_${tenant.slug}`, tenant.id);
    const child = worker(step);
    const { body } = await service
      .operator()
      .post(`/admin/v1/tenants/${tenant.slug}/move/confirm`)
      .expect(202);
    await child.ended();
    expect(last(child)).toBe(step);
    await forgetWorker();
    const rescue = await startTenantry(database);
    expect(await ended(service, (body as { id: string }).id)).toMatchObject({
      status: 'succeeded',
      attempts: 2,
    });
    await rescue.tenantry.stop();
    expect(await rowsIn(database, 'shared', tenant.id)).toEqual([]);
    expect(await rowsIn(database, `tenant_${tenant.slug}`, tenant.id)).toEqual(rows);
    expect(await guards(database, tenant.id)).toEqual([]);
  },
);
