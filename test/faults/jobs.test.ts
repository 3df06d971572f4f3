import { expect, it, jest } from '@jest/globals';
import { useJobs } from '../support/job-scene.ts';
import { useCluster } from '../support/own-cluster.ts';
import { until } from '../support/until.ts';

jest.setTimeout(120_000);

const own = useCluster({ replicas: 0 });
const scene = useJobs(own.database);

it('a job under way when the primary dies is done when it is back, and the process lives on', async () => {
  let began = 0;
  let open = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  scene
    .worker({
      async patient() {
        began += 1;
        await gate;
        return { began };
      },
    })
    .start();
  const { id } = await scene.add('patient');
  await until(() => began === 1, 'the job to begin');
  await own.cluster.kill('primary');
  // Its end can be written nowhere: neither ours nor that of graphile-worker.
  open();
  await own.cluster.restart('primary');
  const job = await scene.reaches(id, 'succeeded', 60_000);
  expect(job.error === null || job.attempts > 1).toBe(true);
  // Jobs that come later are done, too.
  const later = await scene.add('patient');
  await scene.reaches(later.id, 'succeeded', 60_000);
});
