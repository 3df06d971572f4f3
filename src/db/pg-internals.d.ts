/** node-postgres' own conversion of JavaScript values to what PostgreSQL reads; it has no types. */
declare module 'pg/lib/utils.js' {
  export function prepareValue(value: unknown): string | Buffer | null;
}
