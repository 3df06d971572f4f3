import { beforeAll, describe, expect, it } from '@jest/globals';
import { JobRefused, type JobRun } from '../../src/control/jobs/job.ts';
import { maxAttempts } from '../../src/control/jobs/run.ts';
import { command } from '../../src/control/tenants/service.ts';
import { useDatabase } from '../support/database.ts';
import { useJobs } from '../support/job-scene.ts';
import { expectProblem } from '../support/problem.ts';
import { useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

const database = useDatabase();
const service = useTenantry(database);
const scene = useJobs(database);

/** What handlers of this file do is said here by the tests. */
const runs = new Map<string, number>();
let gate = Promise.resolve();
const counted = (run: JobRun) => {
  runs.set(run.id, (runs.get(run.id) ?? 0) + 1);
  return runs.get(run.id) ?? 0;
};

const worker = () =>
  scene.worker({
    async sums(run) {
      const { values } = run.input as { values: number[] };
      await scene.control.write((session) =>
        run.save(session, { state: { seen: true }, progress: { done: 2, total: 2, unit: 'values' } }),
      );
      return { sum: values.reduce((sum, value) => sum + value, 0) };
    },
    async waits(run) {
      counted(run);
      await Promise.race([gate, new Promise((resolve) => run.signal.addEventListener('abort', resolve))]);
      run.signal.throwIfAborted();
      return {};
    },
    async fails(run) {
      if (counted(run) <= Number(run.input['times']))
        throw new Error(`no luck ${String(run.input['times'])}`);
      return { after: runs.get(run.id) };
    },
    async refuses() {
      throw new JobRefused('This cannot be done.');
    },
  });

/** Removes the pause before the next attempt. */
const hurry = () =>
  database.superuser('update graphile_worker._private_jobs set run_at = now() where locked_at is null');

let stopFirst = async (): Promise<void> => undefined;
beforeAll(() => {
  const begun = worker();
  stopFirst = () => begun.stop();
  begun.start();
});

describe('a job', () => {
  it('is queued with its cause or not at all', async () => {
    const undone = scene.control.write(async (session) => {
      await scene.jobs.add(session, { kind: 'sums', tenant: null, input: { values: [1] } });
      throw new Error('the cause is gone');
    });
    await expect(undone).rejects.toThrow('the cause is gone');
    expect((await service.operator().get('/admin/v1/jobs').expect(200)).body).toMatchObject({ data: [] });
    expect(await database.superuser('select key from graphile_worker.jobs')).toEqual([]);
  });

  it('runs, tells how far it is, and keeps its result', async () => {
    const { id } = await scene.add('sums', { values: [1, 2] });
    await scene.reaches(id, 'succeeded');
    const { body } = await service.operator().get(`/admin/v1/jobs/${id}`).expect(200);
    expect(body).toEqual({
      id,
      kind: 'sums',
      tenant: null,
      status: 'succeeded',
      progress: { done: 2, total: 2, unit: 'values' },
      attempts: 1,
      cancelRequested: false,
      result: { sum: 3 },
      error: null,
      createdAt: expect.any(String),
      startedAt: expect.any(String),
      finishedAt: expect.any(String),
    });
    await until(
      async () => (await database.superuser('select key from graphile_worker.jobs')).length === 0,
      'the queue to be empty',
    );
  });

  it('that fails is run again, after a pause that doubles', async () => {
    const { id } = await scene.add('fails', { times: 2 });
    const pauses: number[] = [];
    for (const attempt of [1, 2]) {
      await until(async () => {
        const job = await scene.jobs.get(id);
        return job.status === 'queued' && job.attempts === attempt;
      }, `attempt ${attempt}`);
      const [row] = await database.superuser<{ ms: number }>(
        `select extract(epoch from run_at - updated_at)::float8 * 1000 as ms from graphile_worker.jobs where key = $1`,
        [id],
      );
      pauses.push(Math.round(row?.ms ?? 0));
      await hurry();
    }
    expect(pauses).toEqual([1000, 2000]);
    const job = await scene.reaches(id, 'succeeded');
    expect(job).toMatchObject({ attempts: 3, result: { after: 3 } });
  });

  it('that fails every time has failed, with its reason', async () => {
    const { id } = await scene.add('fails', { times: 100 });
    await until(async () => {
      await hurry();
      return (await scene.jobs.get(id)).status === 'failed';
    }, 'the job to be given up');
    expect(await scene.jobs.get(id)).toMatchObject({
      attempts: maxAttempts,
      error: 'no luck 100',
      result: null,
    });
    expect(runs.get(id)).toBe(maxAttempts);
  });

  it('that cannot be done is not run again', async () => {
    const { id } = await scene.add('refuses');
    expect(await scene.reaches(id, 'failed')).toMatchObject({ attempts: 1, error: 'This cannot be done.' });
  });

  it('is cancelled while it runs, and one that has ended is not', async () => {
    let open = (): void => undefined;
    gate = new Promise((resolve) => (open = resolve));
    const { id } = await scene.add('waits', {});
    await until(() => runs.get(id) === 1, 'the job to begin');
    const { body } = await service.operator().post(`/admin/v1/jobs/${id}/cancel`).expect(202);
    expect(body).toMatchObject({ id, cancelRequested: true });
    await scene.reaches(id, 'cancelled');
    open();
    expectProblem(await service.operator().post(`/admin/v1/jobs/${id}/cancel`), 409, 'job_ended', []);
  });

  it('is cancelled at once while it is queued', async () => {
    const { id } = await scene.add('nobody-knows-this-kind');
    const { body } = await service.operator().post(`/admin/v1/jobs/${id}/cancel`).expect(202);
    expect(body).toMatchObject({ status: 'cancelled', startedAt: null });
    expect(await database.superuser('select key from graphile_worker.jobs where key = $1', [id])).toEqual([]);
    const told = `select actor_kind as kind, action from control.audit_events where resource_id = $1`;
    expect(await database.superuser(told, [id])).toEqual([{ kind: 'platform', action: 'jobs.cancel' }]);
  });

  it('is one of its kind for a tenant at a time', async () => {
    const tenant = '01900000-0000-7000-8000-000000000001';
    const { id } = await scene.add('nobody-knows-this-kind', {}, tenant);
    await expect(scene.add('nobody-knows-this-kind', {}, tenant)).rejects.toMatchObject({
      code: 'job_under_way',
    });
    await scene.jobs.cancel(id, command);
    await scene.add('nobody-knows-this-kind', {}, tenant);
  });
});

describe('the list of jobs', () => {
  it('is filtered, and refuses what it does not know', async () => {
    await scene.reaches((await scene.add('sums', { values: [] })).id, 'succeeded');
    const list = (query: string) => service.operator().get(`/admin/v1/jobs?${query}`);
    const { body } = await list('filter[kind]=sums&filter[status]=succeeded&count=exact').expect(200);
    const { data, page } = body as { data: { kind: string }[]; page: { total: number } };
    expect(page.total).toBe(data.length);
    expect(new Set(data.map(({ kind }) => kind))).toEqual(new Set(['sums']));
    expectProblem(await list('filter[status]=done'), 400, 'invalid_input', ['filter[status]']);
    expectProblem(await service.operator().get('/admin/v1/jobs/x'), 400, 'invalid_input', ['id']);
    const unknown = '/admin/v1/jobs/01900000-0000-7000-8000-000000000000';
    expectProblem(await service.operator().get(unknown), 404, 'not_found', []);
    expectProblem(await service.operator().post(`${unknown}/cancel`), 404, 'not_found', []);
    expectProblem(await service.admin().get('/admin/v1/jobs'), 401, 'unauthenticated', []);
  });
});

describe('a worker that stops', () => {
  it('gives its jobs back, and that is no attempt', async () => {
    let open = (): void => undefined;
    gate = new Promise((resolve) => (open = resolve));
    const { id } = await scene.add('waits');
    await until(() => runs.get(id) === 1, 'the job to begin');
    // The worker of this file goes; another one comes.
    const second = worker();
    second.start();
    await stopFirst();
    await until(() => runs.get(id) === 2, 'the job to begin again');
    open();
    expect(await scene.reaches(id, 'succeeded')).toMatchObject({ attempts: 1, error: null });
  });
});
