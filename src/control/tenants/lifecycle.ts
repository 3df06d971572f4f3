import { AppError } from '../../errors.ts';

/**
 * The life of a tenant, in one table. Making a tenant is one transaction, so there is none that is being made, and none
 * whose making has failed: docs/decisions/0010.
 *
 *     active ⇄ suspended      either → deleted → (restored to what it was | purging → purged)
 *     active, suspended → moving → what it was
 */
export const tenantStatuses = ['active', 'suspended', 'moving', 'deleted', 'purging', 'purged'] as const;
export type TenantStatus = (typeof tenantStatuses)[number];

/** What is done to a tenant. `complete…` and the two ends of a move are done by jobs, the others by operators. */
export type TenantAction =
  | 'update'
  | 'suspend'
  | 'resume'
  | 'delete'
  | 'restore'
  | 'purge'
  | 'beginMove'
  | 'endMove'
  | 'completePurge';

/** `prior`: the status that it had before; `same`: allowed, and the status stays. */
type Target = TenantStatus | 'prior' | 'same';

interface State {
  /**
   * What requests of the tenant get: `served`, `suspended` (403), or `gone`, as if there were no such tenant. While a
   * tenant moves its requests are served where it still is.
   */
  access: 'served' | 'suspended' | 'gone' | 'prior';
  moves: Partial<Record<TenantAction, Target>>;
}

export const lifecycle: Readonly<Record<TenantStatus, State>> = {
  active: {
    access: 'served',
    moves: { update: 'same', suspend: 'suspended', delete: 'deleted', beginMove: 'moving' },
  },
  suspended: {
    access: 'suspended',
    moves: { update: 'same', resume: 'active', delete: 'deleted', beginMove: 'moving' },
  },
  moving: { access: 'prior', moves: { update: 'same', endMove: 'prior' } },
  deleted: { access: 'gone', moves: { update: 'same', restore: 'prior', purge: 'purging' } },
  // Asked for again, a purge that has failed or was cancelled goes on where it stopped. There is no way back.
  purging: { access: 'gone', moves: { purge: 'purging', completePurge: 'purged' } },
  purged: { access: 'gone', moves: {} },
};

/** Statuses that `prior_status` remembers the one before of. */
export const remembersPrior: ReadonlySet<TenantStatus> = new Set(['moving', 'deleted']);

interface Standing {
  status: TenantStatus;
  priorStatus: TenantStatus | null;
}

/** @throws AppError illegal_state, naming what is allowed instead */
export function nextStatus({ status, priorStatus }: Standing, action: TenantAction): TenantStatus {
  const { moves } = lifecycle[status];
  const target = moves[action];
  if (target === undefined) {
    const allowed = Object.keys(moves).filter((name) => operatorActions.has(name));
    throw new AppError(
      'illegal_state',
      `The tenant is ${status}, which allows ${allowed.length === 0 ? 'nothing more' : allowed.join(', ')}.`,
    );
  }
  if (target === 'same') return status;
  return target === 'prior' ? (priorStatus ?? 'active') : target;
}

export function accessOf({ status, priorStatus }: Standing): 'served' | 'suspended' | 'gone' {
  const { access } = lifecycle[status];
  if (access !== 'prior') return access;
  return priorStatus === null || priorStatus === 'moving'
    ? 'served'
    : accessOf({ status: priorStatus, priorStatus: null });
}

/** For work on a tenant's rows beside its requests, such as an export. @throws AppError illegal_state once they are going */
export function requireRows({ status }: Pick<Standing, 'status'>): void {
  if (status !== 'purging' && status !== 'purged') return;
  throw new AppError('illegal_state', `The tenant is ${status}: its rows are going, or gone.`);
}

const operatorActions: ReadonlySet<string> = new Set<TenantAction>([
  'update',
  'suspend',
  'resume',
  'delete',
  'restore',
  'purge',
]);
