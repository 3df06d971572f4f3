import type { BulkOptions } from './contract.ts';
import { translateError } from './pg-errors.ts';
import type { UnitOptions } from './transaction.ts';

/** One run of a unit of work. */
export interface Course extends Pick<UnitOptions, 'sending' | 'read' | 'committed'> {
  /** From 1. */
  runs: number;
  bulk?: BulkOptions | undefined;
}

export async function translated<T>(fn: () => Promise<T>): Promise<T> {
  try {
    return await fn();
  } catch (error) {
    throw translateError(error);
  }
}
