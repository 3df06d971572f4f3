/**
 * The code of an operating system error ("ENOENT"); undefined for any other. Not `instanceof Error`: inside jest, errors
 * of Node itself come from another realm.
 */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
