/**
 * What clients did, as they saw it. A register is one product; one client alone writes to it, the values 1, 2, 3 and so
 * on, each marked with tenant and register. 0 stands for a register that is not there.
 */
export interface Operation {
  kind: 'read' | 'write';
  /** Who: operations of a session follow one another, and each knows of those before it. */
  session: string;
  tenant: string;
  /** Which of the application's processes was asked. */
  process: number;
  register: string;
  /** What was written, or what was read; undefined where nothing was there. */
  value: string | undefined;
  /**
   * `ok`: answered. `refused`: certainly not carried out. `unknown`: the connection or the server was lost, so it may
   * have been carried out or may not.
   */
  outcome: 'ok' | 'refused' | 'unknown';
  /** By a clock that only goes forward. */
  startMs: number;
  endMs: number;
  /** `Served-By` as it stands, or what was answered instead. */
  servedBy: string;
}

export const valueOf = (tenant: string, register: string, number: number): string =>
  `${tenant}|${register}|${number}`;

export interface Value {
  tenant: string;
  register: string;
  number: number;
}

/** Undefined for a text that no client of a history can have written. */
export function parseValue(text: string): Value | undefined {
  const [, tenant = '', register = '', number] = /^([^|]+)\|([^|]+)\|(\d+)$/.exec(text) ?? [];
  return number === undefined ? undefined : { tenant, register, number: Number(number) };
}

/** As a line of a report. */
export function lineOf(operation: Operation): string {
  const {
    kind,
    session,
    process,
    register,
    value = 'nothing',
    outcome,
    startMs,
    endMs,
    servedBy,
  } = operation;
  const times = `${startMs.toFixed(1)}–${endMs.toFixed(1)} ms`;
  return `${times} ${session} ${kind} ${register}: ${value} ${outcome} (process ${process}, ${servedBy})`;
}
