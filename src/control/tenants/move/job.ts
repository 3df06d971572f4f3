import type { Clock } from '../../../clock.ts';
import type { ControlDatabase, Tenant } from '../../../db/index.ts';
import { recordPlatformEvent } from '../../audit/repository.ts';
import type { Directory } from '../../directory.ts';
import { type JobHandler, JobRefused, type JobRun } from '../../jobs/job.ts';
import type { Migrator } from '../../migrations/migrator.ts';
import { nextStatus } from '../lifecycle.ts';
import { type Pace, pause } from '../purge/pace.ts';
import { type LockedTenant, lockTenant, updateStatus } from '../repository.ts';
import { command, type Step } from '../service.ts';
import { clear, guardAll, isLockTimeout, unguardAll } from './clearing.ts';
import { catchUp, copyAll, finish, type MoveResult, prepare, type Work } from './passes.ts';
import { findLeft, forgetLeft } from './repository.ts';

/** What the request says, in the job's input. `undo` puts an end to a move that nobody goes on with. */
export type MoveInput = { requestedBy: string | null } & (
  | { action: 'move'; isolation: Tenant['isolation']; to: string }
  | { action: 'undo' }
  | { action: 'confirm' }
);

/** What a run leaves to the next one. */
interface MoveState {
  /** Where the job was to put the tenant: for whoever rolls it back. */
  to?: string;
  /** The target holds at least what had been written before this transaction: see rows.ts. */
  horizon?: string;
  result?: MoveResult;
}

export interface MoveParts {
  database: ControlDatabase;
  migrator: Migrator;
  clock: Clock;
  pace: Pace;
  /** A replica further behind is not read. */
  maxLagMs: number;
  directory?: Directory;
  step?: Step;
}

/** Little enough to be copied while the tenant cannot write. */
const fewRows = 1000;
const maxPasses = 20;
/** How often the fence is tried, a second apart: somebody may be in the middle of a long write. */
const maxFences = 30;
const betweenFencesMs = 1000;
/** By then every process has heard of the flip, or serves nobody, and what it began before has ended: see purge/job.ts. */
const settledMs = 30_000;

/** Moves a tenant that goes on working: docs/decisions/0011-moving-a-tenant.md. */
export function moveHandler(parts: MoveParts): JobHandler {
  const { database, migrator, clock, pace, maxLagMs, directory, step = () => undefined } = parts;

  return async (run) => {
    const input = run.input as unknown as MoveInput; // as ./service.ts made it
    const author = { actor: { ...command.actor, id: input.requestedBy ?? command.actor.id } };
    if (input.action === 'undo') return rollBack(run, author);
    if (input.action === 'confirm') return confirm(run, author);
    const { result } = run.state as MoveState; // as this file saved it
    if (result !== undefined) return result;
    const { tenant } = await requireMoving(run);
    return move({ run, tenant, author, from: tenant.schema, to: input.to, isolation: input.isolation });
  };

  async function move(given: Omit<Work, 'migrator' | 'step'>): Promise<MoveResult> {
    const work: Work = { ...given, migrator, step };
    const { run, tenant, from, to } = work;
    let { horizon } = run.state as MoveState;
    if (horizon === undefined) {
      await prepare(work);
      await step('move: prepared');
      // Those of an earlier move are replaced: what it left behind lets nobody write.
      await guardAll(migrator, run, tenant, to, false);
      await guardAll(migrator, run, tenant, from, true);
      await step('move: guarded');
      horizon = await keep(run, { to, horizon: await copyAll(work) });
    }
    await step('move: copied');

    let passes = 0;
    async function onePass(proof: 'proved' | 'unproved'): Promise<number> {
      run.signal.throwIfAborted();
      const done = await catchUp(work, horizon ?? '0', proof);
      passes += 1;
      horizon = await keep(run, { to, horizon: done.horizon });
      return done.rows;
    }
    while ((await onePass('unproved')) > fewRows && passes < maxPasses);
    await step('move: caught up');
    // A replica that is read is less than this behind, and shall have what has been copied when reads come to it.
    await pace.rest(maxLagMs, run.signal);
    for (let fences = 1; ; fences += 1) {
      await onePass('proved');
      await step('move: proved');
      try {
        const result = await finish(work, horizon, { passes, fences }, clock);
        await step('move: flipped');
        await directory?.refresh();
        return result;
      } catch (error) {
        if (!isLockTimeout(error) || fences === maxFences) throw error;
      }
      await pause(betweenFencesMs, run.signal);
    }
  }

  async function keep(run: JobRun, state: MoveState & { horizon: string }): Promise<string> {
    await database.write((session) => run.save(session, { state: { ...state } }));
    return state.horizon;
  }

  async function rollBack(run: JobRun, author: Work['author']): Promise<object> {
    const { tenant } = await requireMoving(run);
    // The one place of the two where it is not.
    const to = tenant.isolation === 'shared' ? `tenant_${tenant.slug}` : 'shared';
    await unguardAll(migrator, run, tenant, to);
    await step('move back: unguarded');
    await clear(migrator, run, tenant, to);
    await step('move back: cleared');
    await unguardAll(migrator, run, tenant, tenant.schema);
    const status = await database.write(async (session) => {
      const locked = await lockTenant(session, tenant.id);
      if (locked?.status !== 'moving') throw new JobRefused('The tenant does not move.');
      const next = nextStatus(locked, 'endMove');
      await updateStatus(session, tenant.id, next, null);
      // What an earlier move may have left was at the place that has just been cleared.
      await forgetLeft(session, tenant.id);
      await recordPlatformEvent(session, author, {
        ...{ action: 'tenants.move_rolled_back', resource: 'tenants', resourceId: tenant.id },
        ...{ tenantId: tenant.id, before: { status: locked.status }, after: { status: next } },
      });
      await run.save(session, {});
      return next;
    });
    await directory?.refresh();
    return { rolledBack: true, status };
  }

  async function confirm(run: JobRun, author: Work['author']): Promise<object> {
    const { tenant, movedFrom, movedAt } = await database.write(async (session) => {
      const locked = run.tenant === undefined ? undefined : await lockTenant(session, run.tenant);
      if (locked === undefined) throw new JobRefused('There is no such tenant.');
      return { ...locked, ...(await findLeft(session, locked.tenant.id)) };
    });
    if (movedFrom === null || movedAt === null) return { removed: null };
    await pause(Math.max(0, Date.parse(movedAt) + settledMs - clock.nowMs()), run.signal);
    await step('confirm: settled');
    const { rows } = await clear(migrator, run, tenant, movedFrom);
    await step('confirm: cleared');
    await unguardAll(migrator, run, tenant, movedFrom);
    await unguardAll(migrator, run, tenant, tenant.schema);
    await step('confirm: unguarded');
    await database.write(async (session) => {
      await forgetLeft(session, tenant.id);
      await recordPlatformEvent(session, author, {
        ...{ action: 'tenants.move_confirmed', resource: 'tenants', resourceId: tenant.id },
        ...{ tenantId: tenant.id, after: { removed: movedFrom, rows } },
      });
      await run.save(session, { progress: { done: rows, total: rows, unit: 'rows' } });
    });
    return { removed: movedFrom, rows };
  }

  function requireMoving(run: JobRun): Promise<LockedTenant> {
    return database.write(async (session) => {
      const locked = run.tenant === undefined ? undefined : await lockTenant(session, run.tenant);
      if (locked === undefined) throw new JobRefused('There is no such tenant.');
      if (locked.status !== 'moving') throw new JobRefused(`The tenant is ${locked.status}.`);
      return locked;
    });
  }
}
