import { afterEach, expect, it, jest } from '@jest/globals';
import { built, killChildren, repository, start } from '../support/child.ts';
import { useDatabase } from '../support/database.ts';
import { useJobs } from '../support/job-scene.ts';
import { until } from '../support/until.ts';

jest.setTimeout(90_000);

const database = useDatabase();
const scene = useJobs(database);
afterEach(killChildren);

it('a job whose process was killed is taken over, with what it had saved', async () => {
  const { id } = await scene.add('endless');
  const child = start(built('test/support/job-process.ts'), [String(database.env()['DATABASE_ADMIN_URL'])], {
    cwd: repository,
  });
  await until(() => child.stdout().includes('began'), `the job to begin: ${child.stderr()}`, 20_000);
  child.kill('SIGKILL');
  await child.ended();
  expect(await scene.jobs.get(id)).toMatchObject({ status: 'running', attempts: 1 });

  scene.worker({ endless: async (run) => ({ taken: run.state }) }).start();
  const job = await scene.reaches(id, 'succeeded', 30_000);
  expect(job).toMatchObject({ attempts: 2, result: { taken: { by: 'the dead' } } });
});

it('a job that kills every process is given up', async () => {
  const { id } = await scene.add('endless');
  // As four processes would have left it that died one after the other.
  await database.superuser(
    'update control.jobs set attempts = 5, status = $2, worker = $3, heartbeat_at = $4 where id = $1',
    [id, 'running', 'pool-of-the-dead', '2020-01-01'],
  );
  await database.superuser('update graphile_worker._private_jobs set locked_by = $1, locked_at = now()', [
    'pool-of-the-dead',
  ]);
  scene.worker({ endless: async () => ({}) }).start();
  const job = await scene.reaches(id, 'failed', 30_000);
  expect(job).toMatchObject({ error: 'The process that ran it died, 5 times.' });
});
