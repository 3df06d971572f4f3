import type { StepResult } from './batch.ts';
import { NotPrimary, ReplicaBehind } from './pg-errors.ts';
import type { Lease } from './pool.ts';
import { parseLsn } from './position.ts';
import type { LeftBehind } from './scope.ts';
import type { UnitOptions } from './transaction.ts';

/** What the steps around the statements of a unit of work answer, and what follows from it. */

export function checkClean(lease: Lease, answer: StepResult | undefined): void {
  const { tenant, path } = (answer?.rows[0] ?? {}) as Partial<LeftBehind>;
  lease.searchPath ??= path;
  if (tenant || path !== lease.searchPath) lease.taint('a session-level setting was left behind');
}

interface PlaceRow {
  lsn: string;
  standby?: boolean;
  timeline?: number;
}

export function placeOf(answer: StepResult | undefined): PlaceRow {
  const row = answer?.rows[0];
  if (row === undefined) throw new Error('PostgreSQL did not say where it is');
  return row as unknown as PlaceRow; // what the context, position and commit steps select
}

export function checkPlace(answer: StepResult | undefined, { role, mustHave }: UnitOptions): void {
  const { lsn, standby } = placeOf(answer);
  if (role === 'primary' && standby === true) throw new NotPrimary('the server is a standby');
  if (mustHave !== undefined && parseLsn(lsn) < mustHave) throw new ReplicaBehind();
}

export function tellCommitted({ committed }: UnitOptions, answer: StepResult | undefined): void {
  if (answer === undefined) {
    committed?.(undefined);
    return;
  }
  const { lsn, timeline = 0 } = placeOf(answer);
  committed?.({ lsn: parseLsn(lsn), timeline });
}

export function rowsOf(result: StepResult | undefined): object[] {
  return result?.rows ?? [];
}
