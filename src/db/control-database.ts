import type { Clock } from '../clock.ts';
import { limits } from './limits.ts';
import { type DatabaseObserver, type Spent, tellStatements } from './observer.ts';
import { translateError } from './pg-errors.ts';
import { createPool } from './pool.ts';
import { rerunning } from './rerun.ts';
import type { SchemaName } from './scope.ts';
import type { ReadSession, WriteSession } from './session.ts';
import { readUnit, type Unit, type UnitOptions, writeUnit } from './transaction.ts';

/** The control plane's way to its own tables: the role tenantry_owner, on the primary, outside the serving pools. */
export interface ControlDatabase {
  read<T>(fn: (session: ReadSession) => Promise<T>): Promise<T>;
  write<T>(fn: (session: WriteSession) => Promise<T>): Promise<T>;
  stop(): Promise<void>;
}

export interface ControlDatabaseOptions {
  /** Of the role tenantry_owner; direct, never through a pooler. */
  url: string;
  schema: SchemaName;
  clock: Clock;
  /** Default 4: the control plane is small and must leave connections to the data plane. */
  poolMax?: number;
  onIdleError?: (error: Error, pool: string) => void;
  /** Told of statements alone. */
  observer?: DatabaseObserver;
}

export function createControlDatabase(options: ControlDatabaseOptions): ControlDatabase {
  const { schema, clock } = options;
  const pool = createPool({
    name: 'control',
    url: options.url,
    max: options.poolMax ?? 4,
    limits: limits.control,
    applicationName: 'tenantry-control',
    ...(options.onIdleError === undefined ? {} : { onIdleError: options.onIdleError }),
  });

  const spent = tellStatements(options.observer ?? {}, 'control');
  async function run<T>(unit: Unit, fn: (session: WriteSession) => Promise<T>): Promise<T> {
    try {
      return await pool.withLease((lease) => unit(lease, controlUnit(schema, false, clock, spent), fn));
    } catch (error) {
      throw translateError(error);
    }
  }

  return {
    read: (fn) => run(readUnit, fn),
    write: (fn) => rerunning(() => run(writeUnit, fn)),
    stop: () => pool.end(),
  };
}

/** A unit of work without a tenant: policies show it no row of any. */
export function controlUnit(schema: SchemaName, prepared: boolean, clock: Clock, spent?: Spent): UnitOptions {
  return { tenant: undefined, schema, prepared, spent, monotonicMs: () => clock.monotonicMs() };
}
