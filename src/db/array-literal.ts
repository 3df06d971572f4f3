import type { ColumnType } from './table-contract.ts';

/**
 * An array as PostgreSQL reads it. node-postgres makes them as well, of anything, in twice the time; for a hundred thousand
 * rows that is longer than their insertion takes.
 */
export function arrayLiteral(type: ColumnType, values: readonly unknown[]): string {
  let text = '{';
  for (let at = 0; at < values.length; at += 1) {
    const value = values[at];
    if (at > 0) text += ',';
    if (value === null || value === undefined) text += 'NULL';
    else if (typeof value === 'number') text += value;
    else text += quoted(typeof value === 'string' && type !== 'jsonb' ? value : JSON.stringify(value));
  }
  return `${text}}`;
}

const special = /["\\]/;

function quoted(text: string): string {
  return special.test(text) ? `"${text.replace(/["\\]/g, String.raw`\$&`)}"` : `"${text}"`;
}
