import { expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { createHoldings } from '../support/holdings.ts';
import { expectProblem } from '../support/problem.ts';
import { certificateOf, deleteLongAgo, ended, purge, rowsByTable } from '../support/purging.ts';
import { useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
/** At this step the purge stands still until somebody has cancelled it. */
let haltAt: string | undefined;
const service = useTenantry(database, {
  overrides: {
    async step(name) {
      if (name !== haltAt) return;
      haltAt = undefined;
      const [job] = await database.superuser<{ id: string }>(
        `select id from control.jobs where status = 'running'`,
      );
      await service.operator().post(`/admin/v1/jobs/${job?.id}/cancel`).expect(202);
    },
  },
});

it.each([
  ['shared', 'purge: a batch of shared.orders is gone'],
  ['schema', 'purge: looked through'],
] as const)(
  'a purge (%s) that is cancelled stops, and asked for again goes on and counts all',
  async (isolation, step) => {
    const slug = `halted-${step.length}`;
    const tenant = await service.onboard(slug, isolation);
    await createHoldings(tenant);
    await deleteLongAgo(service, database, tenant);
    const rows = Object.values(await rowsByTable(database, tenant.id)).reduce((sum, count) => sum + count, 0);

    haltAt = step;
    expect(await purge(service, slug)).toMatchObject({ status: 'cancelled', result: null });
    const { body } = await service.operator().get(`/admin/v1/tenants/${tenant.id}`).expect(200);
    expect(body).toMatchObject({ status: 'purging', slug });
    for (const action of ['restore', 'resume', 'suspend']) {
      const answer = await service.operator().post(`/admin/v1/tenants/${slug}/${action}`);
      expectProblem(answer, 409, 'illegal_state', []);
    }
    expectProblem(
      await service.operator().patch(`/admin/v1/tenants/${slug}`).send({ name: 'x' }),
      409,
      'illegal_state',
    );

    const certificate = certificateOf(await purge(service, slug));
    const counted = certificate.tables.filter(({ place }) => !place.startsWith('control.'));
    expect(counted.reduce((sum, { deleted }) => sum + deleted, 0)).toBe(rows);
    expect(await rowsByTable(database, tenant.id)).toEqual({});
    expect(await service.tenantry.control?.purges.verify(certificate)).toEqual([]);
  },
);

it('one purge of a tenant is under way at a time', async () => {
  const tenant = await service.onboard('twice', 'shared');
  await deleteLongAgo(service, database, tenant);
  const ask = () => service.operator().post('/admin/v1/tenants/twice/purge').send({});
  const answers = await Promise.all([ask(), ask(), ask()]);
  const accepted = answers.filter(({ status }) => status === 202);
  for (const answer of answers.filter(({ status }) => status !== 202)) {
    // It was quicker than the next request.
    const { code } = answer.body as { code: string };
    expect([409, 404]).toContain(answer.status);
    expect(['job_under_way', 'not_found', 'illegal_state']).toContain(code);
  }
  expect(accepted.length).toBeGreaterThanOrEqual(1);
  for (const { body } of accepted) await ended(service, (body as { id: string }).id);
});
