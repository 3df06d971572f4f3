import type { Node, ObjectType } from 'libpg-query';
import { namedWithTable, optionOf, walk, words } from '../statements.ts';
import { each, type Rule } from './rule.ts';

/** Rules about what lies outside of the one schema that is being migrated, and about what lets others into it. */

/** They are the same everywhere. */
const system: ReadonlySet<string> = new Set(['pg_catalog', 'information_schema']);

export const qualifiedName: Rule = each(({ node }) => {
  const schema = schemasNamed(node).find((name) => !system.has(name));
  return schema === undefined
    ? undefined
    : {
        message: `It names the schema ${schema}, and is applied in every schema of tenants.`,
        help: 'Leave the schema out: names without one mean the schema that is being migrated.',
      };
});

/** Fields that hold the words of one name, the schema first when there is one. */
const nameFields: readonly string[] = [
  ...['funcname', 'names', 'objname', 'collname', 'opclass', 'defnames', 'domainname'],
  ...['typeName', 'funcName', 'opfamilyname', 'opclassname', 'trigname'],
];

function schemasNamed(node: Node): string[] {
  const found = [...ofObjects(node), ...ofSchemas(node)];
  walk(node, (fields, kind) => {
    const { schemaname } = fields;
    if (typeof schemaname === 'string') found.push(schemaname);
    for (const field of nameFields) {
      const value = fields[field];
      if (Array.isArray(value)) found.push(...schemaOf(words(value as Node[])));
    }
    if (kind === 'ColumnRef') found.push(...schemaOf(words(fields['fields'] as Node[]), 3));
    if (kind === 'A_Expr' && Array.isArray(fields['name'])) {
      found.push(...schemaOf(words(fields['name'] as Node[])));
    }
    if (kind === 'TypeCast') found.push(...ofCast(fields));
  });
  return found;
}

const schemaOf = (name: readonly string[], length = 2): string[] =>
  name.length >= length ? name.slice(0, 1) : [];

/** `'shared.users'::regclass` */
function ofCast({ arg, typeName }: Readonly<Record<string, unknown>>): string[] {
  const type = words((typeName as { names?: Node[] } | undefined)?.names).at(-1) ?? '';
  const text = (arg as { A_Const?: { sval?: { sval?: string } } } | undefined)?.A_Const?.sval?.sval;
  if (!/^reg[a-z]+$/.test(type) || text === undefined) return [];
  const dot = text.indexOf('.');
  return dot < 0 ? [] : [text.slice(0, dot).replaceAll('"', '')];
}

/** Drop and comment hold bare lists of words. */
function ofObjects(node: Node): string[] {
  if ('DropStmt' in node) {
    const { objects = [], removeType } = node.DropStmt;
    if (removeType === 'OBJECT_SCHEMA') return [];
    return objects.flatMap((object) => schemaOf(words([object]), namedWithTable.has(removeType) ? 3 : 2));
  }
  if ('CommentStmt' in node) {
    const { object, objtype } = node.CommentStmt;
    return object === undefined ? [] : schemaOf(words([object]), namedWithTable.has(objtype) ? 3 : 2);
  }
  return [];
}

/** Where a schema is named as such. */
function ofSchemas(node: Node): string[] {
  if ('AlterObjectSchemaStmt' in node) return [node.AlterObjectSchemaStmt.newschema ?? ''];
  if ('GrantStmt' in node) {
    const { objtype, targtype, objects } = node.GrantStmt;
    return objtype === 'OBJECT_SCHEMA' || targtype === 'ACL_TARGET_ALL_IN_SCHEMA' ? words(objects) : [];
  }
  return [];
}

/** Kinds of statements whose work is not the schema's. */
const wide: ReadonlySet<string> = new Set([
  ...['CreateSchemaStmt', 'CreateExtensionStmt', 'AlterExtensionStmt', 'AlterExtensionContentsStmt'],
  ...['CreatedbStmt', 'DropdbStmt', 'AlterDatabaseStmt', 'AlterDatabaseSetStmt', 'AlterSystemStmt'],
  ...['CreateRoleStmt', 'AlterRoleStmt', 'AlterRoleSetStmt', 'DropRoleStmt', 'GrantRoleStmt'],
  ...['AlterDefaultPrivilegesStmt', 'ReassignOwnedStmt', 'DropOwnedStmt'],
  ...['CreatePublicationStmt', 'AlterPublicationStmt', 'CreateSubscriptionStmt', 'AlterSubscriptionStmt'],
  ...['CreateEventTrigStmt', 'AlterEventTrigStmt', 'CreatePLangStmt', 'CreateCastStmt', 'CreateAmStmt'],
  ...['CreateTableSpaceStmt', 'CreateFdwStmt', 'CreateForeignServerStmt', 'CheckPointStmt'],
]);
const wideObjects: ReadonlySet<ObjectType | undefined> = new Set([
  ...(['OBJECT_SCHEMA', 'OBJECT_EXTENSION', 'OBJECT_PUBLICATION', 'OBJECT_EVENT_TRIGGER'] as const),
  ...(['OBJECT_LANGUAGE', 'OBJECT_CAST', 'OBJECT_ACCESS_METHOD', 'OBJECT_FDW'] as const),
  ...(['OBJECT_FOREIGN_SERVER', 'OBJECT_DATABASE', 'OBJECT_ROLE'] as const),
]);

export const databaseWide: Rule = each(({ node }) => {
  const [kind = ''] = Object.keys(node);
  const object =
    'DropStmt' in node
      ? node.DropStmt.removeType
      : 'RenameStmt' in node
        ? node.RenameStmt.renameType
        : undefined;
  return wide.has(kind) || wideObjects.has(object)
    ? {
        message: 'It is of the whole database, and would be done anew for every schema of tenants.',
        help: 'Do it once: in the ladder of the control plane, or when the database is made.',
      }
    : undefined;
});

/** What `tenantry doctor --rls` would complain of afterwards. */
export const ownerRights: Rule = each(({ node }) => {
  if ('ViewStmt' in node && !invokes(node.ViewStmt.options)) {
    return {
      message: 'The view shows rows with the rights of its owner.',
      help: 'Make it with (security_invoker = true).',
    };
  }
  if ('CreateTableAsStmt' in node && node.CreateTableAsStmt.objtype === 'OBJECT_MATVIEW') {
    return {
      message: 'No policy stands before the rows of a materialized view.',
      help: 'Make a table with tenantTable() and keep it up to date.',
    };
  }
  if ('CreateForeignTableStmt' in node) {
    return { message: 'No policy binds a foreign table.', help: 'Keep it out of the schemas of tenants.' };
  }
  if (sequence(node)) {
    return {
      message:
        'A sequence counts for all tenants of a schema at once, and tells each how much the others do.',
      help: 'Number with a row per tenant, as the table counters does, or use a uuid.',
    };
  }
  return 'CreateFunctionStmt' in node && definer(node.CreateFunctionStmt.options)
    ? { message: 'The function runs with the rights of its owner.', help: 'Make it security invoker.' }
    : undefined;
});

function invokes(options: readonly Node[] | undefined): boolean {
  const value = optionOf(options, 'security_invoker');
  if (value === undefined || value === true) return value ?? false;
  if ('Boolean' in value) return value.Boolean.boolval === true;
  const text =
    'String' in value ? value.String.sval : 'Integer' in value ? String(value.Integer.ival ?? 0) : '';
  return ['true', 'on', 'yes', '1'].includes(text ?? '');
}

function definer(options: readonly Node[] | undefined): boolean {
  const value = optionOf(options, 'security');
  return typeof value === 'object' && 'Boolean' in value && value.Boolean.boolval === true;
}

const serial = /^(small|big)?serial[248]?$/;

function sequence(node: Node): boolean {
  let found = 'CreateSeqStmt' in node;
  walk(node, (fields, kind) => {
    if (kind === 'CreateFunctionStmt') return false;
    if (kind === 'Constraint') found ||= fields['contype'] === 'CONSTR_IDENTITY';
    if (kind === 'AlterTableCmd') found ||= fields['subtype'] === 'AT_AddIdentity';
    if (kind === 'typeName') found ||= serial.test(words(fields['names'] as Node[]).at(-1) ?? '');
    return true;
  });
  return found;
}
