import type { AlterTableCmd, AlterTableStmt, Node, ObjectType } from 'libpg-query';
import type { Script } from './script.ts';

/** One SQL statement of a script, as PostgreSQL's own grammar reads it. */
export interface Parsed {
  /** As written, without the semicolon. */
  sql: string;
  node: Node;
  /** Among all of its script, from 0. */
  position: number;
  /**
   * Tables, views and indexes of new tables that the script has made before: nobody else knows them yet, so what happens
   * to them is nobody else's concern.
   */
  made: ReadonlySet<string>;
}

/** What PostgreSQL would refuse to read. */
export interface Unreadable {
  sql: string;
  position: number;
  why: string;
}

/** Loads the parser when it is called first: some 80 ms and 20 MB that a process which migrates nothing does not spend. */
export async function parseScript(
  script: Pick<Script, 'statements'>,
): Promise<{ statements: Parsed[]; unreadable: Unreadable[] }> {
  const { loadModule, parseSync } = await import('libpg-query');
  await loadModule();
  const statements: Parsed[] = [];
  const unreadable: Unreadable[] = [];
  let made: ReadonlySet<string> = new Set();
  let position = 0;
  for (const { sql } of script.statements) {
    try {
      // An empty text is no statement, and an error of the parser's wrapper.
      const { stmts = [] } = parseSync(sql === '' ? ';' : sql);
      const bytes = Buffer.from(sql);
      for (const { stmt, stmt_location: from = 0, stmt_len: length } of stmts) {
        if (stmt === undefined) continue;
        const end = length === undefined ? bytes.length : from + length;
        const text = bytes.subarray(from, end).toString().trim();
        statements.push({ sql: text, node: stmt, position, made });
        const name = makes(stmt, made);
        if (name !== undefined) made = new Set([...made, name]);
        position += 1;
      }
    } catch (error) {
      unreadable.push({ sql, position, why: (error as Error).message });
      position += 1;
    }
  }
  return { statements, unreadable };
}

/** The name that is new with this statement. */
function makes(node: Node, made: ReadonlySet<string>): string | undefined {
  if ('CreateStmt' in node) return node.CreateStmt.relation?.relname;
  if ('CreateTableAsStmt' in node) return node.CreateTableAsStmt.into?.rel?.relname;
  if ('SelectStmt' in node) return node.SelectStmt.intoClause?.rel?.relname;
  if ('ViewStmt' in node && node.ViewStmt.replace !== true) return node.ViewStmt.view?.relname;
  if ('IndexStmt' in node && made.has(node.IndexStmt.relation?.relname ?? '')) return node.IndexStmt.idxname;
  if ('RenameStmt' in node && made.has(node.RenameStmt.relation?.relname ?? '')) {
    const whole = ['OBJECT_TABLE', 'OBJECT_VIEW', 'OBJECT_INDEX', 'OBJECT_MATVIEW'];
    return whole.includes(node.RenameStmt.renameType ?? '') ? node.RenameStmt.newname : undefined;
  }
  return undefined;
}

/** A statement on one line, for people. */
export function shortened(sql: string, length = 160): string {
  const line = sql.replaceAll(/\s+/g, ' ').trim();
  return line.length <= length ? line : `${line.slice(0, length - 1)}…`;
}

/** The words of a list of names: `schema.table` is two. */
export function words(list: readonly Node[] | undefined): string[] {
  return (list ?? []).flatMap((node) => {
    if ('String' in node) return [node.String.sval ?? ''];
    if ('List' in node) return words(node.List.items);
    if ('TypeName' in node) return words(node.TypeName.names);
    if ('ObjectWithArgs' in node) return words(node.ObjectWithArgs.objname);
    return [];
  });
}

/** What is named with the table it is on: `table.column`. */
export const namedWithTable: ReadonlySet<ObjectType | undefined> = new Set([
  ...(['OBJECT_COLUMN', 'OBJECT_TABCONSTRAINT', 'OBJECT_TRIGGER', 'OBJECT_POLICY', 'OBJECT_RULE'] as const),
]);

/** The value of an option, of WITH or in parentheses; true for one that has none. */
export function optionOf(options: readonly Node[] | undefined, name: string): Node | true | undefined {
  for (const item of options ?? []) {
    if ('DefElem' in item && item.DefElem.defname === name) return item.DefElem.arg ?? true;
  }
  return undefined;
}

/** What is to be said of some parts of ALTER TABLE. */
export type Commands<T> = Readonly<
  Partial<Record<NonNullable<AlterTableCmd['subtype']>, (command: AlterTableCmd) => T | undefined>>
>;

/** The parts of ALTER TABLE. */
export function commandsOf({ cmds = [] }: AlterTableStmt): AlterTableCmd[] {
  return cmds.flatMap((item) => ('AlterTableCmd' in item ? [item.AlterTableCmd] : []));
}

export function ofCommand<T>(table: Commands<T>, command: AlterTableCmd): T | undefined {
  return command.subtype && table[command.subtype]?.(command);
}

type Fields = Readonly<Record<string, unknown>>;

/**
 * Visits every part of a tree, from the outside in.
 *
 * @param visit told the fields of a part, and its kind or the field that holds it (`FuncCall`, `relation`); false: not what
 *   is in it
 */
export function walk(
  tree: unknown,
  visit: (fields: Fields, kind: string) => boolean | void,
  kind = '',
): void {
  if (typeof tree !== 'object' || tree === null) return;
  if (Array.isArray(tree)) {
    for (const item of tree) walk(item, visit, kind);
    return;
  }
  const fields = tree as Fields;
  if (visit(fields, kind) === false) return;
  for (const key of Object.keys(fields)) walk(fields[key], visit, key);
}

/** Functions that the statement calls, by their unqualified names, with their arguments. */
export function calls(node: Node): { name: string; args: readonly Node[] }[] {
  const found: { name: string; args: readonly Node[] }[] = [];
  walk(node, (fields, kind) => {
    // What a function will do when it is called is not done now.
    if (kind === 'CreateFunctionStmt') return false;
    if (kind !== 'FuncCall') return true;
    const name = words(fields['funcname'] as Node[]).at(-1) ?? '';
    found.push({ name, args: (fields['args'] as Node[] | undefined) ?? [] });
    return true;
  });
  return found;
}
