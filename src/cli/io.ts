import type { Readable, Writable } from 'node:stream';

/** What a command may touch of the outside. stdout is data, stderr is progress. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** A line of the result. */
  out(line: string): void;
  /** A line about how it is going. */
  note(line: string): void;
  /** For what is not lines. */
  readonly stdin: Readable;
  readonly stdout: Writable;
  /** A person is watching stderr: bars may be drawn. */
  readonly interactive: boolean;
}

/** Documented in the README; scripts rely on them. */
export const exitCodes = {
  done: 0,
  error: 1,
  usage: 2,
  pending: 3,
  someFailed: 4,
  leaseHeld: 5,
  cannotConnect: 6,
  interrupted: 130,
} as const;

/** Ends the command with a code of its own. */
export class Exit extends Error {
  readonly exitCode: number;

  constructor(exitCode: number, message = '') {
    super(message);
    this.name = 'Exit';
    this.exitCode = exitCode;
  }
}

export function printJson(io: Io, value: unknown): void {
  io.out(JSON.stringify(value, null, 2));
}

/** Columns as wide as their widest cell. */
export function printTable(io: Io, header: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  for (const row of [header, ...rows]) {
    io.out(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  }
}
