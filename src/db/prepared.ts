/** What a connection knows of the statements that it has prepared. */
export interface Known {
  /** Empty: it is parsed each time. */
  name: string;
  /** Undefined until PostgreSQL has described it, null when it returns no rows. */
  columns: Columns | null | undefined;
  parsed: boolean;
  /** A moving average of the round trips it was a part of. */
  usualMs: number;
  /** It takes the place of one that the tables had outgrown. */
  renewed: boolean;
}

export interface Columns {
  names: string[];
  parsers: ((value: string) => unknown)[];
  /** A row with all its columns: a copy of it is filled, so that all rows have one shape. */
  empty: Record<string, unknown>;
}

const knownByConnection = new WeakMap<object, Map<string, Known>>();
/** A statement with a dynamic part must not fill the memory of every connection: beyond this they are not kept. */
const maxKnown = 1000;

/** By text; undefined when the connection has prepared nothing. */
export function knownOn(connection: object): ReadonlyMap<string, Known> | undefined {
  return knownByConnection.get(connection);
}

/** @param name by default one that no other statement of the connection has */
export function preparedOn(connection: object, text: string, name: string | undefined): Known {
  let known = knownByConnection.get(connection);
  if (known === undefined) {
    known = new Map();
    knownByConnection.set(connection, known);
  }
  const found = known.get(text);
  if (found !== undefined) return found.name === '' ? unnamed() : found;
  if (known.size >= maxKnown) return unnamed();
  const spent = name !== undefined && known.has(spentKey(text, name));
  const made = { ...unnamed(), name: (spent ? undefined : name) ?? `t${known.size}` };
  known.set(text, made);
  return made;
}

export function unnamed(): Known {
  return { name: '', columns: undefined, parsed: false, usualMs: 0, renewed: false };
}

/** It failed before it was known whether it has been parsed: it gets another name the next time. */
export function forget(connection: object, text: string, failed: Known): void {
  const known = knownByConnection.get(connection);
  known?.delete(text);
  known?.set(spentKey(text, failed.name), failed);
}

/**
 * The tables have outgrown it: it is parsed anew the next time. One that is outgrown again meets tables of both kinds, as
 * while a fleet is being migrated: from then on it is parsed each time. Without this every tenant of the other kind would
 * cost a connection.
 */
export function renew(connection: object, text: string, outgrown: Known): void {
  const known = knownByConnection.get(connection);
  if (known?.get(text) !== outgrown) return; // another one of the same write has done it
  known.set(spentKey(text, outgrown.name), outgrown);
  known.set(text, outgrown.renewed ? unnamed() : { ...unnamed(), name: `r${known.size}`, renewed: true });
}

function spentKey(text: string, name: string): string {
  return `${text} -- ${name} is spent`;
}
