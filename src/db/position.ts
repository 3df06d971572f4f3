/**
 * A place in the write-ahead log of one system. Positions can be held against each other only on one timeline: a
 * promotion begins a new one, which may have left out the end of the old.
 */
export interface Position {
  readonly timeline: number;
  readonly lsn: bigint;
}

/** `16/B374D848`, as PostgreSQL writes it, as a number that can be compared. */
export function parseLsn(text: string): bigint {
  // Reads of a quiet server all tell the same one.
  if (text !== lastText) {
    const [high, low] = text.split('/');
    lastLsn = (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
    lastText = text;
  }
  return lastLsn;
}
let lastText = '';
let lastLsn = 0n;

export function formatLsn(lsn: bigint): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`;
}

/** The one further on; a newer timeline is further on than any position of an older one. */
export function furthest(a: Position | undefined, b: Position | undefined): Position | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  if (a.timeline !== b.timeline) return a.timeline > b.timeline ? a : b;
  return a.lsn >= b.lsn ? a : b;
}
