import { type Author, type ControlDatabase, schemaOf, type WriteSession } from '../../../db/index.ts';
import { AppError, notFound } from '../../../errors.ts';
import { recordPlatformEvent } from '../../audit/repository.ts';
import type { Directory } from '../../directory.ts';
import type { JobView } from '../../jobs/job.ts';
import type { JobService } from '../../jobs/service.ts';
import { requireRows } from '../lifecycle.ts';
import { lockTenant, updateStatus } from '../repository.ts';
import type { MoveTenant } from '../schema.ts';
import { command, requireTenant } from '../service.ts';
import type { MoveInput } from './job.ts';
import { findAbandoned, findLeft } from './repository.ts';

export interface MoveService {
  /**
   * Moves a tenant between `shared` and a schema of its own, as a job, while it works. What is left at the place where it
   * was is kept until that is confirmed, or until the tenant moves back, which empties it first.
   *
   * @param author whom the audit names; a command by default
   * @throws AppError not_found; illegal_state also when the tenant is there already; job_under_way
   */
  request(slugOrId: string, input: MoveTenant, author?: Author): Promise<JobView>;
  /**
   * Removes, as a job, what the last move has left behind.
   *
   * @throws AppError not_found; illegal_state when there is nothing left, or the tenant moves; job_under_way
   */
  confirm(slugOrId: string, author?: Author): Promise<JobView>;
  /** Has every move rolled back that nobody goes on with. To be called from time to time. */
  tend(): Promise<void>;
}

export interface MoveServiceParts {
  database: ControlDatabase;
  jobs: JobService;
  directory?: Directory;
}

export function createMoveService({ database, jobs, directory }: MoveServiceParts): MoveService {
  const add = (session: WriteSession, tenant: string, input: MoveInput) =>
    jobs.add(session, { kind: 'move', tenant, input });
  const requestedBy = ({ actor }: Author) => (actor.id === command.actor.id ? null : actor.id);

  return {
    async request(slugOrId, { isolation }, author = command) {
      const job = await database.write(async (session) => {
        const { tenant, status, next } = await requireTenant(session, slugOrId, 'beginMove');
        if (tenant.isolation === isolation) {
          throw new AppError('illegal_state', `The tenant has the isolation ${isolation} already.`);
        }
        await updateStatus(session, tenant.id, next, status);
        const to = schemaOf(isolation, tenant.slug);
        const added = await add(session, tenant.id, {
          ...{ action: 'move', isolation, to, requestedBy: requestedBy(author) },
        });
        await recordPlatformEvent(session, author, {
          ...{ action: 'tenants.move', resource: 'tenants', resourceId: tenant.id, tenantId: tenant.id },
          before: { status, isolation: tenant.isolation },
          after: { status: next, isolation, job: added.id },
        });
        return added;
      });
      await directory?.refresh();
      return job;
    },

    confirm: (slugOrId, author = command) =>
      database.write(async (session) => {
        const locked = await lockTenant(session, slugOrId);
        if (locked === undefined) throw notFound('There is no such tenant.');
        requireRows(locked);
        const { tenant, status } = locked;
        const { movedFrom } = await findLeft(session, tenant.id);
        if (movedFrom === null || status === 'moving') {
          throw new AppError(
            'illegal_state',
            status === 'moving'
              ? 'The tenant is being moved.'
              : 'No move of the tenant waits to be confirmed.',
          );
        }
        const added = await add(session, tenant.id, { action: 'confirm', requestedBy: requestedBy(author) });
        await recordPlatformEvent(session, author, {
          ...{ action: 'tenants.move_confirm', resource: 'tenants', resourceId: tenant.id },
          ...{ tenantId: tenant.id, after: { remove: movedFrom, job: added.id } },
        });
        return added;
      }),

    async tend() {
      for (const id of await database.read(findAbandoned)) {
        await database.write(async (session) => {
          const locked = await lockTenant(session, id);
          if (locked?.status !== 'moving' || !(await findAbandoned(session)).includes(id)) return;
          await add(session, id, { action: 'undo', requestedBy: null });
        });
      }
    },
  };
}
