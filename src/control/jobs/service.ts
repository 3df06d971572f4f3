import { v7 as uuidv7 } from 'uuid';
import type { Author, ControlDatabase, Page, PageRequest, WriteSession } from '../../db/index.ts';
import { AppError, notFound } from '../../errors.ts';
import { recordPlatformEvent } from '../audit/repository.ts';
import type { JobView } from './job.ts';
import { countJobs, findJob, insertJob, type JobFilter, pageOfJobs, requestCancel } from './repository.ts';

export interface JobService {
  /**
   * In the caller's transaction: there is a job if and only if it is committed.
   *
   * @param job `tenant` null: of the whole fleet; of these several of a kind may be under way
   * @throws AppError job_under_way when the tenant has a job of this kind that has not ended
   */
  add(session: WriteSession, job: { kind: string; tenant: string | null; input: object }): Promise<JobView>;
  /** @throws AppError not_found */
  get(id: string): Promise<JobView>;
  /** By time of creation. */
  list(request: PageRequest<JobFilter>): Promise<Page<JobView>>;
  count(where: Partial<JobFilter>): Promise<number>;
  /**
   * One that is queued ends at once; one that runs stops where it safely can, which its status then tells.
   *
   * @param author whom the audit names
   * @throws AppError not_found, job_ended
   */
  cancel(id: string, author: Author): Promise<JobView>;
}

export function createJobService(database: ControlDatabase): JobService {
  return {
    async add(session, job) {
      const id = uuidv7();
      await insertJob(session, { id, ...job });
      return required(await findJob(session, id));
    },
    get: async (id) => required(await database.read((session) => findJob(session, id))),
    list: (request) => database.read((session) => pageOfJobs(session, request)),
    count: (where) => database.read((session) => countJobs(session, where)),
    cancel: (id, author) =>
      database.write(async (session) => {
        const status = await requestCancel(session, id);
        const job = required(await findJob(session, id));
        if (status === undefined) throw new AppError('job_ended', `The job has ${job.status} already.`);
        await recordPlatformEvent(session, author, {
          ...{ action: 'jobs.cancel', resource: 'jobs', resourceId: id, after: { kind: job.kind } },
          ...(job.tenant === null ? {} : { tenantId: job.tenant }),
        });
        return job;
      }),
  };
}

function required(job: JobView | undefined): JobView {
  if (job === undefined) throw notFound('There is no such job.');
  return job;
}
