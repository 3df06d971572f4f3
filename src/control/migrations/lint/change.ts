import type { Node } from 'libpg-query';
import { appRole } from '../../isolation-rules.ts';
import { type Commands, commandsOf, ofCommand, type Parsed, walk, words } from '../statements.ts';
import { each, type Rule } from './rule.ts';

/** Rules about what a step does to rows, and to the builds that know nothing of it. */

const changesRows: ReadonlySet<string> = new Set(['InsertStmt', 'UpdateStmt', 'DeleteStmt', 'MergeStmt']);

export const dataChange: Rule = each(({ node }) => {
  if ('TruncateStmt' in node) {
    return {
      message: 'No policy binds TRUNCATE: it takes away the rows of every tenant in the schema.',
      help: 'Rows of tenants go with their tenant. A table nobody needs is dropped, in a contract step.',
    };
  }
  return changes(node)
    ? {
        message:
          'Without a tenant no row is seen: row level security is forced on the owner, too. It changes nothing, or is refused.',
        help: `Say export const backfill = { table, set, where }: the runner rewrites the rows of every tenant, a few at a time.`,
      }
    : undefined;
});

function changes(node: Node): boolean {
  let found = 'CopyStmt' in node && node.CopyStmt.is_from === true;
  walk(node, (_fields, kind) => {
    // What a function, a rule or a prepared statement will do is not done now.
    if (['CreateFunctionStmt', 'RuleStmt', 'PrepareStmt'].includes(kind)) return false;
    found ||= changesRows.has(kind);
    return true;
  });
  return found;
}

/** No gate keeps older builds from the schema `control`, so there saying that it is a contract step is not enough. */
export const contract: Rule = (step) => {
  const ofTenants = step.ladder === 'tenant';
  if (step.contract && ofTenants) return [];
  const help = `Let a build that does without it serve everywhere. Then take it away in a later step that ${ofTenants ? saysIt : 'allows it, with this reason'}.`;
  return each((statement) => {
    const what = taken(statement);
    return what === undefined ? undefined : { message: `Older builds still need it: ${what}.`, help };
  })(step);
};

const saysIt =
  'says export const contract = true: older builds stop serving a schema before it gets the step';

const droppable: Readonly<Record<string, string>> = {
  OBJECT_TABLE: 'a table is dropped',
  OBJECT_VIEW: 'a view is dropped',
  OBJECT_MATVIEW: 'a materialized view is dropped',
  OBJECT_SEQUENCE: 'a sequence is dropped',
  OBJECT_FUNCTION: 'a function is dropped',
  OBJECT_TYPE: 'a type is dropped',
};

const renameable: ReadonlySet<string> = new Set([
  'OBJECT_TABLE',
  'OBJECT_VIEW',
  'OBJECT_COLUMN',
  'OBJECT_FUNCTION',
]);

/** What is there no more, or takes less than before, once the statement is applied. */
function taken({ node, made }: Parsed): string | undefined {
  if ('DropStmt' in node) {
    const { objects = [], removeType = '' } = node.DropStmt;
    const old = objects.some((object) => !made.has(words([object]).at(-1) ?? ''));
    return old ? droppable[removeType] : undefined;
  }
  if ('RenameStmt' in node) {
    const { renameType = '', relation, subname, newname } = node.RenameStmt;
    if (made.has(relation?.relname ?? '') || !renameable.has(renameType)) return undefined;
    return `${subname ?? relation?.relname ?? 'it'} is called ${newname} afterwards`;
  }
  if ('AlterObjectSchemaStmt' in node) return 'it is somewhere else afterwards';
  if ('GrantStmt' in node) {
    const { is_grant: grants, grantees = [], objects = [] } = node.GrantStmt;
    const old = objects.some((item) => 'RangeVar' in item && !made.has(item.RangeVar.relname ?? ''));
    const from = grantees.some((item) => 'RoleSpec' in item && item.RoleSpec.rolename === appRole);
    return grants !== true && from && old ? 'a right of the application is revoked' : undefined;
  }
  if (!('AlterTableStmt' in node) || made.has(node.AlterTableStmt.relation?.relname ?? '')) return undefined;
  return commandsOf(node.AlterTableStmt)
    .map((command) => ofCommand(takenBy, command))
    .find((what) => what !== undefined);
}

const takenBy: Commands<string> = {
  AT_DropColumn: ({ name }) => `the column ${name} is dropped`,
  AT_AlterColumnType: ({ name }) => `${name} has another type afterwards`,
  AT_SetNotNull: ({ name }) => `${name} does not take null any more`,
  AT_DropNotNull: ({ name }) => `${name} may be null afterwards, which they do not expect when they read it`,
  AT_ColumnDefault: ({ name, def }) => (def === undefined ? `${name} has no default any more` : undefined),
  AT_DropIdentity: ({ name }) => `${name} is not filled in any more`,
  AT_DropExpression: ({ name }) => `${name} is not filled in any more`,
  AT_AddColumn: ({ def }) =>
    required(def) ? 'the new column must be given, and they do not know it' : undefined,
};

/** A column that an INSERT must name. */
function required(def: Node | undefined): boolean {
  if (def === undefined || !('ColumnDef' in def)) return false;
  const kinds = new Set(
    (def.ColumnDef.constraints ?? []).map((item) =>
      'Constraint' in item ? item.Constraint.contype : undefined,
    ),
  );
  const filled = kinds.has('CONSTR_DEFAULT') || kinds.has('CONSTR_IDENTITY') || kinds.has('CONSTR_GENERATED');
  return !filled && (kinds.has('CONSTR_NOTNULL') || kinds.has('CONSTR_PRIMARY'));
}
