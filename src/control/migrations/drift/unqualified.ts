/**
 * A definition as PostgreSQL writes it, without the name of one schema where that qualifies a name: what is said of a
 * schema then reads alike in all of them. Literals are left alone, but for the names that they are cast to.
 */
export function unqualified(definition: string, schema: string): string {
  const name = /^[a-z_][a-z0-9_]*$/.test(schema) ? schema : `"${schema.replaceAll('"', '""')}"`;
  const prefix = `${name}.`;
  if (!definition.includes(prefix)) return definition;
  return definition.replace(pieces, (piece) => {
    if (piece === prefix) return '';
    return piece.endsWith(`'::regclass`) && piece.startsWith(`'${prefix}`)
      ? `'${piece.slice(prefix.length + 1)}`
      : piece;
  });
}

/** Literals, quoted names, names; with the point behind a name that qualifies another. */
const pieces = /'(?:[^']|'')*'(?:::regclass)?|"(?:[^"]|"")*"\.?|[\p{L}_][\p{L}\p{N}_$]*\.?/gu;
