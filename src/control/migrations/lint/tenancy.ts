import type { Constraint, IndexStmt, Node } from 'libpg-query';
import { policyText } from '../../isolation-rules.ts';
import { commandsOf, words } from '../statements.ts';
import { each, type Rule } from './rule.ts';

/** What tenantTable() of migrations/tenant-table.ts stamps, for those who read SQL. */
export const tenantColumn = 'tenant_id';
export const keyColumns: readonly string[] = [tenantColumn, 'id'];
export const policyName = 'tenant_isolation';
export const tenantSetting = `app.${tenantColumn}`;
const deletionColumn = 'deleted_at';

/** The expression without its places in the text and without casts of texts to text, which PostgreSQL adds itself. */
export function plain(tree: unknown): unknown {
  if (Array.isArray(tree)) return tree.map(plain);
  if (typeof tree !== 'object' || tree === null) return tree;
  const { TypeCast: cast } = tree as { TypeCast?: { arg?: Node; typeName?: { names?: Node[] } } };
  if (cast?.arg !== undefined && 'A_Const' in cast.arg && words(cast.typeName?.names).at(-1) === 'text') {
    return plain(cast.arg);
  }
  return Object.fromEntries(
    Object.entries(tree).flatMap(([key, value]) => (key === 'location' ? [] : [[key, plain(value)]])),
  );
}

/** The one condition of tenantTable()'s policy, to be held against what a policy says. */
export async function policyCondition(): Promise<string> {
  const { loadModule, parseSync } = await import('libpg-query');
  await loadModule();
  const [parsed] = parseSync(`select where ${policyText}`).stmts ?? [];
  const select = parsed?.stmt;
  if (select === undefined || !('SelectStmt' in select)) throw new Error('The policy is not SQL');
  return JSON.stringify(plain(select.SelectStmt.whereClause));
}

/** Without it a row could refer to one of another tenant, or a value be taken by one. */
export const tenantKey: Rule = each(({ node }) => {
  if ('IndexStmt' in node) return ofIndex(node.IndexStmt);
  return constraintsOf(node)
    .map(ofConstraint)
    .find((fault) => fault !== undefined);
});

const leads = (columns: readonly string[]): boolean => columns[0] === tenantColumn;
const uniqueHelp = `Make it an index: create unique index … on … (${tenantColumn}, …) where ${deletionColumn} is null.`;

function ofIndex({ unique, indexParams = [], whereClause }: IndexStmt) {
  if (unique !== true) return undefined;
  const columns = indexParams.map((item) => ('IndexElem' in item ? (item.IndexElem.name ?? '') : ''));
  if (!leads(columns)) {
    return {
      message: `It does not lead with ${tenantColumn}: what is taken for one tenant is taken for all, and tells of them.`,
      help: uniqueHelp,
    };
  }
  return onlyLive(whereClause)
    ? undefined
    : { message: 'A value stays taken by a row that is deleted, which nobody sees.', help: uniqueHelp };
}

function onlyLive(condition: Node | undefined): boolean {
  if (condition === undefined || !('NullTest' in condition)) return false;
  const { arg, nulltesttype } = condition.NullTest;
  return (
    nulltesttype === 'IS_NULL' &&
    arg !== undefined &&
    'ColumnRef' in arg &&
    words(arg.ColumnRef.fields).join('.') === deletionColumn
  );
}

function ofConstraint({ contype, fk_attrs: own, pk_attrs: theirs, exclusions = [] }: Constraint) {
  if (contype === 'CONSTR_FOREIGN') {
    const columns = words(own);
    const target = words(theirs);
    return columns.length > 1 && leads(columns) && (target.length === 0 || leads(target))
      ? undefined
      : {
          message:
            'A row could refer to one of another tenant: row level security does not bind foreign keys.',
          help: `Make it composite: foreign key (${tenantColumn}, …_id) references … (${keyColumns.join(', ')}).`,
        };
  }
  if (contype === 'CONSTR_UNIQUE') {
    return {
      message: 'A unique constraint cannot leave out deleted rows, nor, for a column, lead with the tenant.',
      help: uniqueHelp,
    };
  }
  if (contype !== 'CONSTR_EXCLUSION') return undefined;
  return exclusions.some(sameTenant)
    ? undefined
    : {
        message: 'Rows of one tenant exclude those of another.',
        help: `Let ${tenantColumn} with = be its first part.`,
      };
}

/** An element is a list of what is compared and by which operator. */
function sameTenant(item: Node): boolean {
  if (!('List' in item)) return false;
  const [element, operator] = item.List.items ?? [];
  return (
    element !== undefined &&
    'IndexElem' in element &&
    element.IndexElem.name === tenantColumn &&
    operator !== undefined &&
    words([operator]).at(-1) === '='
  );
}

/** Those that a table is made with, and those that are added to one. */
export function constraintsOf(node: Node): Constraint[] {
  if ('CreateStmt' in node) return (node.CreateStmt.tableElts ?? []).flatMap(ofElement);
  if (!('AlterTableStmt' in node)) return [];
  return commandsOf(node.AlterTableStmt).flatMap(({ def }) => (def === undefined ? [] : ofElement(def)));
}

function ofElement(element: Node): Constraint[] {
  if ('Constraint' in element) return [element.Constraint];
  if (!('ColumnDef' in element)) return [];
  return (element.ColumnDef.constraints ?? []).flatMap((item) =>
    'Constraint' in item ? [item.Constraint] : [],
  );
}
