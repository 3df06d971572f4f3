import type { JobView } from '../../src/control/jobs/job.ts';
import type { MoveResult } from '../../src/control/tenants/move/passes.ts';
import { allRows, type AnyRow } from './rows.ts';
import type { TestDatabase } from './database.ts';
import { ended } from './purging.ts';
import type { TestTenant, TestTenantry } from './tenantry.ts';

export const otherOf = (isolation: 'shared' | 'schema') => (isolation === 'shared' ? 'schema' : 'shared');
export const placeOf = (slug: string, isolation: 'shared' | 'schema') =>
  isolation === 'shared' ? 'shared' : `tenant_${slug}`;

/** Through the admin API, to the end of the job, which succeeds. */
export async function moveTo(
  service: TestTenantry,
  { slug }: Pick<TestTenant, 'slug'>,
  isolation: 'shared' | 'schema',
): Promise<MoveResult> {
  const job = await ended(service, (await requestMove(service, slug, isolation)).id);
  if (job.status !== 'succeeded') throw new Error(`The move has ${job.status}: ${job.error}`);
  return job.result as MoveResult;
}

export async function requestMove(
  service: TestTenantry,
  slug: string,
  isolation: 'shared' | 'schema',
): Promise<JobView> {
  const request = service.operator().post(`/admin/v1/tenants/${slug}/move`).send({ isolation });
  return (await request.expect(202)).body as JobView;
}

/** The rows of a tenant in one schema, without the schema's name. */
export async function rowsIn(database: TestDatabase, schema: string, tenantId: string): Promise<AnyRow[]> {
  return (await allRows(database))
    .filter(({ place, row }) => place.startsWith(`${schema}.`) && row.tenant_id === tenantId)
    .map(({ place, row }) => ({ place: place.slice(schema.length + 1), row }));
}

/** The tables that the guard of a tenant stands on. */
export async function guards(database: TestDatabase, tenantId: string): Promise<string[]> {
  const rows = await database.superuser<{ place: string }>(
    `select tgrelid::regclass::text as place from pg_trigger where tgname = $1 order by 1`,
    [`moving_${tenantId.replaceAll('-', '')}`],
  );
  return rows.map(({ place }) => place);
}
