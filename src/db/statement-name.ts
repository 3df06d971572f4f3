/**
 * A name for a statement that was not given one, for logs and traces: its verb and its first table, such as
 * `select tenant_directory`. Nothing after the first literal is looked at, so no value can be in it.
 */
export function statementName(text: string): string {
  const literal = /'|\$(?!\d)|--|\/\*/.exec(text);
  const safe = literal === null ? text : text.slice(0, literal.index);
  const verb = /[a-z]+/i.exec(safe)?.[0].toLowerCase() ?? 'statement';
  const table = /\b(?:from|into|update|join)\s+([a-z_][\w.]*)/i.exec(safe)?.[1];
  return table === undefined ? verb : `${verb} ${table}`;
}
