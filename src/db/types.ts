import { types as defaults } from 'pg';

const INT8 = 20;
const TIMESTAMPTZ = 1184;

/**
 * How values of PostgreSQL become JavaScript's. timestamptz stays text, as ISO 8601: a Date keeps milliseconds,
 * PostgreSQL microseconds, and a page cursor must name the exact value. bigint becomes a number, which is what money
 * and counters are in JSON.
 */
export function getTypeParser(oid: number): (value: string) => unknown {
  if (oid === TIMESTAMPTZ) return isoTimestamp;
  if (oid === INT8) return safeInteger;
  // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- PostgreSQL has more types than the enum lists
  return defaults.getTypeParser(oid, 'text');
}

/** `2026-01-31 12:00:00.5+00` → `2026-01-31T12:00:00.5Z` */
function isoTimestamp(text: string): string {
  if (text[10] === ' ' && text.endsWith('+00')) return `${text.slice(0, 10)}T${text.slice(11, -3)}Z`;
  const withT = text.replace(' ', 'T'); // a year of five digits, or another time zone
  return withT.endsWith('+00') ? `${withT.slice(0, -3)}Z` : withT;
}

function safeInteger(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError('a bigint is too large for a JavaScript number');
  return value;
}
