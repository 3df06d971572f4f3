import type { Certificate } from '../../src/control/tenants/purge/certificate.ts';
import type { JobView } from '../../src/control/jobs/job.ts';
import type { TestDatabase } from './database.ts';
import { allRows } from './rows.ts';
import type { TestTenant, TestTenantry } from './tenantry.ts';
import { until } from './until.ts';

/** Deletes a tenant, and lets it have been deleted for forty days. */
export async function deleteLongAgo(
  service: TestTenantry,
  database: TestDatabase,
  tenant: Pick<TestTenant, 'id'>,
): Promise<void> {
  await service.operator().delete(`/admin/v1/tenants/${tenant.id}`).expect(204);
  await backdate(database, tenant.id);
}

export async function backdate(database: TestDatabase, id: string): Promise<void> {
  await database.superuser(
    `update control.tenants set status_since = now() - interval '40 days' where id = $1`,
    [id],
  );
}

/** Through the admin API, to the end of the job. */
export async function purge(service: TestTenantry, name: string, body: object = {}): Promise<JobView> {
  const { body: job } = await service
    .operator()
    .post(`/admin/v1/tenants/${name}/purge`)
    .send(body)
    .expect(202);
  return ended(service, (job as JobView).id);
}

export async function ended(service: TestTenantry, id: string): Promise<JobView> {
  let job: JobView | undefined;
  await until(
    async () => {
      job = (await service.operator().get(`/admin/v1/jobs/${id}`).expect(200)).body as JobView;
      return job.finishedAt !== null;
    },
    'the job to end',
    50_000,
  );
  return job as JobView; // until() has seen it
}

export function certificateOf({ result, error }: JobView): Certificate {
  if (result === null) throw new Error(`There is no certificate: ${error}`);
  return result as Certificate;
}

/** Rows of a tenant by table, as a superuser sees them. */
export async function rowsByTable(database: TestDatabase, tenantId: string): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { place, row } of await allRows(database)) {
    if (row.tenant_id === tenantId) counts[place] = (counts[place] ?? 0) + 1;
  }
  return counts;
}
