import type { AlterTableCmd, AlterTableStmt, Node } from 'libpg-query';
import type { Script } from './script.ts';
import {
  calls,
  type Commands,
  commandsOf,
  type Parsed,
  namedWithTable,
  ofCommand,
  optionOf,
  parseScript,
  walk,
  words,
} from './statements.ts';

/**
 * Which locks a statement takes on tables that were there before its script, and for how long: what waits while it runs.
 * As in ALTER TABLE of PostgreSQL's manual and in AlterTableGetLockLevel() of its source; test/migrations/locks.test.ts holds
 * it against pg_locks. What the text does not tell is not in it: tables to which a dropped table or constraint refers, and
 * what triggers and functions do.
 */
export interface StatementLocks {
  sql: string;
  /** The strongest of `tables`. */
  mode: LockMode | 'none' | 'unknown';
  tables: readonly TableLock[];
  /** What waits for it, from the moment it waits itself: a lock that does not come holds up those behind it. */
  blocks: 'reads and writes' | 'writes' | 'changes of the table' | 'nothing' | 'unknown';
  /** The table is read or rewritten while the lock is held; else it is held for a moment, and until the transaction ends. */
  reads: 'nothing' | 'all rows' | 'all rows, and writes them anew';
}

export interface TableLock {
  /** A table, or what is locked like one; `table of x` for an index x of which only the name is known. */
  table: string;
  mode: LockMode;
}

/** From the weakest to the strongest. */
export const lockModes = [
  ...(['ACCESS SHARE', 'ROW SHARE', 'ROW EXCLUSIVE', 'SHARE UPDATE EXCLUSIVE'] as const),
  ...(['SHARE', 'SHARE ROW EXCLUSIVE', 'EXCLUSIVE', 'ACCESS EXCLUSIVE'] as const),
] as const;
export type LockMode = (typeof lockModes)[number];

const blocks: Readonly<Record<LockMode, StatementLocks['blocks']>> = {
  'ACCESS SHARE': 'nothing',
  'ROW SHARE': 'nothing',
  'ROW EXCLUSIVE': 'nothing',
  'SHARE UPDATE EXCLUSIVE': 'changes of the table',
  SHARE: 'writes',
  'SHARE ROW EXCLUSIVE': 'writes',
  EXCLUSIVE: 'writes',
  'ACCESS EXCLUSIVE': 'reads and writes',
};

/** For each statement, in order. */
export async function lockLevels(script: Pick<Script, 'statements'>): Promise<StatementLocks[]> {
  const { statements, unreadable } = await parseScript(script);
  const levels = [
    ...statements.map((statement) => ({ position: statement.position, level: levelOf(statement) })),
    ...unreadable.map(({ sql, position }) => ({ position, level: unknown(sql) })),
  ];
  return levels.toSorted((a, b) => a.position - b.position).map(({ level }) => level);
}

/** In one line: `ACCESS EXCLUSIVE on users: blocks reads and writes, while it reads all rows`. */
export function describeLocks({ mode, tables, blocks: what, reads }: StatementLocks): string {
  if (mode === 'none') return 'no lock on a table that is in use';
  if (mode === 'unknown') return 'locks that cannot be known before';
  const strongest = tables.filter((lock) => lock.mode === mode).map(({ table }) => table);
  const whole = reads === 'nothing' ? '' : `, while it reads ${reads}`;
  return `${mode} on ${strongest.join(', ')}: blocks ${what}${whole}`;
}

function levelOf(statement: Parsed): StatementLocks {
  const { sql } = statement;
  const tables = locksOf(statement);
  if (tables === undefined) return unknown(sql);
  const [strongest] = tables;
  if (strongest === undefined) return { sql, mode: 'none', tables, blocks: 'nothing', reads: 'nothing' };
  const { mode } = strongest;
  return { sql, mode, tables, blocks: blocks[mode], reads: readsOf(statement) };
}

const unknown = (sql: string): StatementLocks => ({
  ...{ sql, mode: 'unknown', tables: [], blocks: 'unknown', reads: 'nothing' },
});

/** The strongest first; undefined where the text does not tell. */
export function locksOf({ node, made }: Parsed): TableLock[] | undefined {
  const strongest = new Map<string, LockMode>();
  const taken = locksTaken(node);
  for (const { table, mode } of taken ?? []) {
    if (made.has(table.replace(/^table of /, ''))) continue;
    const held = strongest.get(table);
    if (held === undefined || rank(mode) > rank(held)) strongest.set(table, mode);
  }
  const locks = [...strongest].map(([table, mode]) => ({ table, mode }));
  return taken && locks.toSorted((a, b) => rank(b.mode) - rank(a.mode));
}

const rank = (mode: LockMode): number => lockModes.indexOf(mode);
type Named = { relname?: string } | undefined;
const on = (mode: LockMode, ...relations: Named[]): TableLock[] =>
  relations.flatMap((relation) =>
    relation?.relname === undefined ? [] : [{ table: relation.relname, mode }],
  );

/** Kinds of statements that lock no table, or none that is there. */
const lockless: ReadonlySet<string> = new Set([
  ...['CreateFunctionStmt', 'AlterFunctionStmt', 'CreateEnumStmt', 'AlterEnumStmt', 'CreateDomainStmt'],
  ...['CompositeTypeStmt', 'CreateRangeStmt', 'CreateSeqStmt', 'CreateSchemaStmt', 'DefineStmt'],
  ...['GrantStmt', 'GrantRoleStmt', 'CreateCastStmt', 'VariableSetStmt', 'ConstraintsSetStmt', 'NotifyStmt'],
]);

function locksTaken(node: Node): TableLock[] | undefined {
  const [kind = ''] = Object.keys(node);
  if (lockless.has(kind)) return [];
  if ('AlterTableStmt' in node) return ofAlterTable(node.AlterTableStmt);
  if ('CreateStmt' in node) {
    const { inhRelations: parents, partbound: bound, tableElts } = node.CreateStmt;
    const mode = bound === undefined ? 'SHARE UPDATE EXCLUSIVE' : 'ACCESS EXCLUSIVE';
    return [...onEach(mode, parents), ...referenced(tableElts), ...copied(tableElts)];
  }
  if ('IndexStmt' in node) {
    const { relation, concurrent } = node.IndexStmt;
    return on(concurrent === true ? 'SHARE UPDATE EXCLUSIVE' : 'SHARE', relation);
  }
  if ('DropStmt' in node) return ofDrop(node);
  if ('RenameStmt' in node) {
    const { renameType, relation } = node.RenameStmt;
    return on(renameType === 'OBJECT_INDEX' ? 'SHARE UPDATE EXCLUSIVE' : 'ACCESS EXCLUSIVE', relation);
  }
  if ('AlterObjectSchemaStmt' in node) return on('ACCESS EXCLUSIVE', node.AlterObjectSchemaStmt.relation);
  if ('CreateTrigStmt' in node) {
    const { relation, constrrel } = node.CreateTrigStmt;
    return [...on('SHARE ROW EXCLUSIVE', relation), ...on('ACCESS SHARE', constrrel)];
  }
  if ('CreatePolicyStmt' in node) return on('ACCESS EXCLUSIVE', node.CreatePolicyStmt.table);
  if ('AlterPolicyStmt' in node) return on('ACCESS EXCLUSIVE', node.AlterPolicyStmt.table);
  if ('RuleStmt' in node) return on('ACCESS EXCLUSIVE', node.RuleStmt.relation);
  if ('CreateStatsStmt' in node) return onEach('SHARE UPDATE EXCLUSIVE', node.CreateStatsStmt.relations);
  if ('CommentStmt' in node) return ofComment(node);
  if ('ViewStmt' in node) {
    const { view, query, replace } = node.ViewStmt;
    return [...(replace === true ? on('ACCESS EXCLUSIVE', view) : []), ...readBy(query)];
  }
  if ('CreateTableAsStmt' in node) return readBy(node.CreateTableAsStmt.query);
  if ('RefreshMatViewStmt' in node) {
    const { relation, concurrent } = node.RefreshMatViewStmt;
    return on(concurrent === true ? 'EXCLUSIVE' : 'ACCESS EXCLUSIVE', relation);
  }
  return ofRows(node) ?? ofUpkeep(node);
}

function ofRows(node: Node): TableLock[] | undefined {
  if ('SelectStmt' in node) {
    const locking = node.SelectStmt.lockingClause !== undefined;
    return locking ? readBy(node).map(({ table }) => ({ table, mode: 'ROW SHARE' })) : readBy(node);
  }
  for (const statement of [
    'InsertStmt' in node && node.InsertStmt,
    'UpdateStmt' in node && node.UpdateStmt,
    'DeleteStmt' in node && node.DeleteStmt,
    'MergeStmt' in node && node.MergeStmt,
  ]) {
    if (statement !== false) return [...on('ROW EXCLUSIVE', statement.relation), ...readBy(statement)];
  }
  if (!('CopyStmt' in node)) return undefined;
  const { relation, is_from: into, query } = node.CopyStmt;
  return [...on(into === true ? 'ROW EXCLUSIVE' : 'ACCESS SHARE', relation), ...readBy(query)];
}

function ofUpkeep(node: Node): TableLock[] | undefined {
  if ('TruncateStmt' in node) return onEach('ACCESS EXCLUSIVE', node.TruncateStmt.relations);
  if ('LockStmt' in node) {
    // As numbered by PostgreSQL, from 1.
    return onEach(lockModes[(node.LockStmt.mode ?? 0) - 1] ?? 'ACCESS EXCLUSIVE', node.LockStmt.relations);
  }
  if ('ReindexStmt' in node) {
    const { kind, relation, params = [] } = node.ReindexStmt;
    const concurrent = optionOf(params, 'concurrently') !== undefined;
    const mode = concurrent ? 'SHARE UPDATE EXCLUSIVE' : 'SHARE';
    if (kind === 'REINDEX_OBJECT_TABLE') return on(mode, relation);
    return kind === 'REINDEX_OBJECT_INDEX' ? ofIndexNamed(relation?.relname, mode) : undefined;
  }
  return undefined;
}

function ofDrop(node: Extract<Node, { DropStmt: unknown }>): TableLock[] | undefined {
  const { objects = [], removeType, concurrent } = node.DropStmt;
  const named = objects.map((object) => words([object]));
  if (removeType === 'OBJECT_INDEX') {
    const mode = concurrent === true ? 'SHARE UPDATE EXCLUSIVE' : 'ACCESS EXCLUSIVE';
    return named.flatMap((name) => ofIndexNamed(name.at(-1), mode));
  }
  if (removeType === 'OBJECT_TABLE' || removeType === 'OBJECT_VIEW' || removeType === 'OBJECT_MATVIEW') {
    return named.flatMap((name) => on('ACCESS EXCLUSIVE', { relname: name.at(-1) ?? '' }));
  }
  return namedWithTable.has(removeType)
    ? named.flatMap((name) => on('ACCESS EXCLUSIVE', { relname: name.at(-2) ?? '' }))
    : [];
}

function ofComment(node: Extract<Node, { CommentStmt: unknown }>): TableLock[] {
  const { objtype, object } = node.CommentStmt;
  const name = object === undefined ? [] : words([object]);
  if (objtype === 'OBJECT_TABLE') return on('SHARE UPDATE EXCLUSIVE', { relname: name.at(-1) ?? '' });
  if (!namedWithTable.has(objtype)) return [];
  const mode = objtype === 'OBJECT_COLUMN' ? 'SHARE UPDATE EXCLUSIVE' : 'ACCESS SHARE';
  return on(mode, { relname: name.at(-2) ?? '' });
}

const ofIndexNamed = (index: string | undefined, mode: LockMode): TableLock[] =>
  index === undefined ? [] : [{ table: `table of ${index}`, mode }];

const onEach = (mode: LockMode, relations: readonly Node[] = []): TableLock[] =>
  relations.flatMap((item) => ('RangeVar' in item ? on(mode, item.RangeVar) : []));

/** Tables that new constraints refer to. */
function referenced(tree: unknown): TableLock[] {
  const found: TableLock[] = [];
  walk(tree, ({ pktable }) => void found.push(...on('SHARE ROW EXCLUSIVE', pktable as Named)));
  return found;
}

function copied(tree: unknown): TableLock[] {
  const found: TableLock[] = [];
  walk(tree, ({ relation }, kind) => {
    if (kind === 'TableLikeClause') found.push(...on('ACCESS SHARE', relation as Named));
  });
  return found;
}

/** Every table in it; names of WITH are taken for tables that nobody has. */
function readBy(tree: unknown): TableLock[] {
  const found: TableLock[] = [];
  const local = new Set<string>();
  walk(tree, (fields, kind) => {
    if (kind === 'CommonTableExpr') local.add(String(fields['ctename']));
    if (kind === 'RangeVar') found.push(...on('ACCESS SHARE', fields));
  });
  return found.filter(({ table }) => !local.has(table));
}

/** What ALTER TABLE takes where it is not ACCESS EXCLUSIVE. */
const gentle: Readonly<Partial<Record<NonNullable<AlterTableCmd['subtype']>, LockMode>>> = {
  AT_ValidateConstraint: 'SHARE UPDATE EXCLUSIVE',
  AT_SetStatistics: 'SHARE UPDATE EXCLUSIVE',
  AT_SetOptions: 'SHARE UPDATE EXCLUSIVE',
  AT_ResetOptions: 'SHARE UPDATE EXCLUSIVE',
  AT_SetRelOptions: 'SHARE UPDATE EXCLUSIVE',
  AT_ResetRelOptions: 'SHARE UPDATE EXCLUSIVE',
  AT_ClusterOn: 'SHARE UPDATE EXCLUSIVE',
  AT_DropCluster: 'SHARE UPDATE EXCLUSIVE',
  AT_AttachPartition: 'SHARE UPDATE EXCLUSIVE',
  AT_EnableTrig: 'SHARE ROW EXCLUSIVE',
  AT_EnableAlwaysTrig: 'SHARE ROW EXCLUSIVE',
  AT_EnableReplicaTrig: 'SHARE ROW EXCLUSIVE',
  AT_EnableTrigAll: 'SHARE ROW EXCLUSIVE',
  AT_EnableTrigUser: 'SHARE ROW EXCLUSIVE',
  AT_DisableTrig: 'SHARE ROW EXCLUSIVE',
  AT_DisableTrigAll: 'SHARE ROW EXCLUSIVE',
  AT_DisableTrigUser: 'SHARE ROW EXCLUSIVE',
};

function ofAlterTable(statement: AlterTableStmt): TableLock[] {
  return commandsOf(statement).flatMap((command) => {
    const { subtype, def } = command;
    const foreign = constraintOf(command)?.contype === 'CONSTR_FOREIGN';
    const mode = foreign ? 'SHARE ROW EXCLUSIVE' : ((subtype && gentle[subtype]) ?? 'ACCESS EXCLUSIVE');
    return [...on(mode, statement.relation), ...referenced(def), ...partition(def)];
  });
}

const constraintOf = ({ subtype, def }: AlterTableCmd) =>
  subtype === 'AT_AddConstraint' && def !== undefined && 'Constraint' in def ? def.Constraint : undefined;

const partition = (def: Node | undefined): TableLock[] =>
  def !== undefined && 'PartitionCmd' in def ? on('ACCESS EXCLUSIVE', def.PartitionCmd.name) : [];

/** The most that any part of it does. */
function readsOf({ node, made }: Parsed): StatementLocks['reads'] {
  if ('IndexStmt' in node || 'ReindexStmt' in node) return 'all rows';
  if (!('AlterTableStmt' in node)) return 'nothing';
  // There are no rows in a table that has just been made.
  if (made.has(node.AlterTableStmt.relation?.relname ?? '')) return 'nothing';
  const parts = commandsOf(node.AlterTableStmt).map(readByCommand);
  return parts.find((part) => part === rewritten) ?? parts.find((part) => part === 'all rows') ?? 'nothing';
}

const rewritten = 'all rows, and writes them anew';

function readByCommand(command: AlterTableCmd): StatementLocks['reads'] {
  const constraint = constraintOf(command);
  if (constraint !== undefined) {
    return constraint.skip_validation === true || constraint.indexname !== undefined ? 'nothing' : 'all rows';
  }
  return ofCommand(readByPart, command) ?? 'nothing';
}

const readByPart: Commands<StatementLocks['reads']> = {
  AT_AddColumn: ({ def }) => ofNewColumn(def),
  AT_AlterColumnType: () => rewritten,
  AT_SetLogged: () => rewritten,
  AT_SetUnLogged: () => rewritten,
  AT_SetAccessMethod: () => rewritten,
  AT_SetTableSpace: () => rewritten,
  AT_SetExpression: () => rewritten,
  AT_SetNotNull: () => 'all rows',
  AT_ValidateConstraint: () => 'all rows',
  AT_AttachPartition: () => 'all rows',
};

/** The same at every row of the statement: evaluated once. Of other functions the text does not tell. */
const stable: ReadonlySet<string> = new Set([
  'now',
  'transaction_timestamp',
  'statement_timestamp',
  'current_setting',
]);

function ofNewColumn(def: Node | undefined): StatementLocks['reads'] {
  if (def === undefined || !('ColumnDef' in def)) return 'nothing';
  const parts = (def.ColumnDef.constraints ?? []).flatMap((item) =>
    'Constraint' in item ? [item.Constraint] : [],
  );
  const differs = parts.some(({ contype, generated_kind: kind, raw_expr: value }) => {
    if (contype === 'CONSTR_GENERATED') return kind !== 'v';
    if (contype === 'CONSTR_DEFAULT')
      return value !== undefined && calls(value).some(({ name }) => !stable.has(name));
    return contype === 'CONSTR_IDENTITY';
  });
  if (differs) return rewritten;
  const checked = ['CONSTR_CHECK', 'CONSTR_UNIQUE', 'CONSTR_PRIMARY', 'CONSTR_FOREIGN'] as const;
  return checked.some((kind) => parts.some(({ contype }) => contype === kind)) ? 'all rows' : 'nothing';
}
