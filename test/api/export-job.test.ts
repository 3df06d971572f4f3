import { afterAll, describe, expect, it } from '@jest/globals';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { ExportedFile } from '../../src/control/tenants/export-job.ts';
import { withConnection } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { ended } from '../support/purging.ts';
import { startTenantry, type TestTenantry, useTenantry } from '../support/tenantry.ts';
import { taken } from '../support/transfer.ts';
import { until } from '../support/until.ts';
import { unchanged } from '../support/untouched.ts';

const parent = mkdtempSync(path.join(os.tmpdir(), 'tenantry-exports-'));
afterAll(() => rmSync(parent, { recursive: true }));
const folder = path.join(parent, 'made', 'by', 'the job');

const database = useDatabase();
const service = useTenantry(database, { env: { EXPORT_DIR: folder } });
const request = (name: string, from: Pick<TestTenantry, 'operator'> = service) =>
  from.operator().post(`/admin/v1/tenants/${name}/exports`);

describe.each(['shared', 'schema'] as const)('a tenant of isolation %s', (isolation) => {
  it('is exported to a file that nobody else can read, and there only when it is complete', async () => {
    const { id, slug } = await service.onboard(`filed-${isolation}`, isolation);
    const answer = await request(slug).expect(202);
    const { id: job } = answer.body as { id: string };
    expect(answer.headers['location']).toBe(`/admin/v1/jobs/${job}`);
    const done = await ended(service, job);
    const file = path.join(folder, `${slug}-${job}.ndjson`);
    expect(done).toMatchObject({
      kind: 'export',
      tenant: id,
      status: 'succeeded',
      progress: { unit: 'rows' },
    });
    expect(done.result).toMatchObject({ file, host: os.hostname(), tenant: { id, slug } });
    const { rows } = done.result as ExportedFile;
    expect(done.progress).toMatchObject({ done: rows, total: rows });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(taken(readFileSync(file, 'utf8')).manifest.tenant['slug']).toBe(slug);
    const told = await database.superuser<{ action: string }>(
      `select action from control.audit_events where tenant = $1 and action like '%export%' order by created_at`,
      [id],
    );
    expect(told.map(({ action }) => action)).toEqual(['tenants.export_to_file', 'tenants.export']);
  });
});

it('one that is cancelled leaves no file, and another can be asked for', async () => {
  const { slug } = await service.onboard('unwanted', 'schema');
  const found = () => readdirSync(folder).filter((name) => name.startsWith(slug));
  // The export waits for the table, and the table for the transaction.
  await withConnection(database.superuserUrl(), async (client) => {
    await client.query('begin');
    await client.query('lock table tenant_unwanted.products');
    const { id } = (await request(slug).expect(202)).body as { id: string };
    expectProblem(await request(slug), 409, 'job_under_way');
    const { operator } = service;
    await until(async () => {
      const { body } = await operator().get(`/admin/v1/jobs/${id}`).expect(200);
      return (body as { status: string }).status === 'running';
    }, 'the job to run');
    await operator().post(`/admin/v1/jobs/${id}/cancel`).expect(202);
    expect(await ended(service, id)).toMatchObject({ status: 'cancelled' });
    await client.query('rollback');
  });
  expect(found()).toEqual([]);
  const { id } = (await request(slug).expect(202)).body as { id: string };
  expect(await ended(service, id)).toMatchObject({ status: 'succeeded' });
  expect(found()).toEqual([`${slug}-${id}.ndjson`]);
});

it('is refused for a tenant that is not there, with a body, and where there is no place for the file', async () => {
  await service.onboard('placeless', 'shared');
  const other = await startTenantry(database);
  try {
    await unchanged(database, async () => {
      expectProblem(await request('nobody'), 404, 'not_found');
      expectProblem(await request('placeless').send({ to: '/etc/passwd' }), 400, 'invalid_input');
      expectProblem(await request('placeless', other), 409, 'illegal_state');
    });
  } finally {
    await other.tenantry.stop();
  }
});
