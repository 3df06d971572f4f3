import { pino } from 'pino';
import { systemClock } from '../../src/clock.ts';
import type { JobHandlers, JobView } from '../../src/control/jobs/job.ts';
import { createJobService, type JobService } from '../../src/control/jobs/service.ts';
import { createJobWorker, type JobWorker } from '../../src/control/jobs/worker.ts';
import { type ControlDatabase, createControlDatabase, schemaName } from '../../src/db/index.ts';
import { beforeDrop, type TestDatabase } from './database.ts';
import { until } from './until.ts';

/** The queue of a database, and workers of this process with handlers of a test. */
export interface JobScene {
  readonly control: ControlDatabase;
  readonly jobs: JobService;
  worker(handlers: JobHandlers): JobWorker;
  add(kind: string, input?: object, tenant?: string | null): Promise<JobView>;
  /** Resolves when the job has this status. */
  reaches(id: string, status: JobView['status'], patienceMs?: number): Promise<JobView>;
}

/** To be called at the top of a test file, after useDatabase(). */
export function useJobs(database: TestDatabase): JobScene {
  const workers: JobWorker[] = [];
  let made: ControlDatabase | undefined;
  const adminUrl = () => String(database.env()['DATABASE_ADMIN_URL']);
  const control = () => {
    made ??= createControlDatabase({ url: adminUrl(), schema: schemaName('control'), clock: systemClock });
    return made;
  };
  beforeDrop(database, async () => {
    for (const worker of workers) await worker.stop();
    await made?.stop();
  });
  const service = () => createJobService(control());

  return {
    get control() {
      return control();
    },
    get jobs() {
      return service();
    },
    worker(handlers) {
      const worker = createJobWorker({
        adminUrl: adminUrl(),
        database: control(),
        handlers,
        clock: systemClock,
        logger: pino({ level: 'silent' }),
      });
      workers.push(worker);
      return worker;
    },
    add: (kind, input = {}, tenant = null) =>
      control().write((session) => service().add(session, { kind, tenant, input })),
    async reaches(id, status, patienceMs = 20_000) {
      let job = await service().get(id);
      await until(
        async () => {
          job = await service().get(id);
          return job.status === status;
        },
        `the job to be ${status}`,
        patienceMs,
      );
      return job;
    },
  };
}
