import type { AlterTableCmd, Constraint, CreatePolicyStmt, GrantStmt, Node, RangeVar } from 'libpg-query';
import { appRole, ownerRole } from '../../isolation-rules.ts';
import { type Commands, commandsOf, ofCommand, type Parsed, words } from '../statements.ts';
import type { Fault, Rule } from './rule.ts';
import { constraintsOf, keyColumns, plain, policyName, tenantColumn } from './tenancy.ts';

/**
 * Rules about tables as they are when the step is done: the statements are followed, and what keeps tenants apart is counted
 * up. What `tenantry doctor --rls` asks the catalog for afterwards is asked of the text before.
 */

interface Table {
  /** Where it was made; undefined for one that was there before. */
  made: Parsed | undefined;
  /** The statement that touched it last. */
  at: Parsed;
  column: boolean;
  key: boolean;
  enabled: boolean;
  forced: boolean;
  owned: boolean;
  /** Name → it is the one that tenantTable() makes. */
  policies: ReadonlyMap<string, boolean>;
  /** What the application may do. */
  granted: ReadonlySet<string>;
}

/** @param condition of the one policy there may be: policyCondition() */
export function tableRules(condition: string): Record<'tenant-table' | 'grant', Rule> {
  return {
    'tenant-table': ({ statements }) => [...follow(statements, condition).values()].flatMap(incomplete),
    grant: ({ statements }) => [
      ...statements.flatMap(tooMuch),
      ...[...follow(statements, condition).values()].flatMap(unusable),
    ],
  };
}

function incomplete(table: Table): Fault[] {
  const lacks = [
    ...(table.column ? [] : [`${tenantColumn} uuid not null`]),
    ...(table.key ? [] : [`the primary key (${keyColumns.join(', ')})`]),
    ...(table.enabled ? [] : ['row level security']),
    ...(table.forced ? [] : ['row level security forced on its owner']),
    ...(table.policies.get(policyName) === true && table.policies.size === 1
      ? []
      : [`the policy ${policyName} as tenantTable() makes it, and no other`]),
    ...(table.owned ? [] : [`${ownerRole} as its owner`]),
  ];
  if (lacks.length === 0) return [];
  return [
    {
      at: table.made ?? table.at,
      message: `Afterwards the table lacks ${lacks.join('; ')}.`,
      help:
        table.made === undefined
          ? 'What keeps tenants apart stays as tenantTable() has made it.'
          : 'Make it with tenantTable() of migrations/tenant-table.ts.',
    },
  ];
}

function unusable({ made, granted }: Table): Fault[] {
  const missing = ['select', 'insert'].filter((right) => !granted.has(right));
  if (made === undefined || missing.length === 0) return [];
  return [
    {
      at: made,
      message: `${appRole} may not ${missing.join(', nor ')} in the table.`,
      help: `grant select, insert, update on … to ${appRole}, or make it with tenantTable().`,
    },
  ];
}

/** No DELETE: rows are only marked as deleted. */
const rights: readonly string[] = ['select', 'insert', 'update'];

function tooMuch(at: Parsed): Fault[] {
  if (!('GrantStmt' in at.node) || at.node.GrantStmt.is_grant !== true) return [];
  const { objtype, privileges = [], grantees = [], grant_option: passes } = at.node.GrantStmt;
  if (objtype !== 'OBJECT_TABLE') return [];
  const named = rightsOf(at.node.GrantStmt);
  const ofColumns = privileges.some((item) => 'AccessPriv' in item && item.AccessPriv.cols !== undefined);
  const fault = (message: string): Fault[] => [
    { at, message, help: `grant select, insert, update on … to ${appRole}` },
  ];
  const more = named.filter((right) => !rights.includes(right));
  if (more.length > 0) return fault(`The application needs no ${more.join(', ')}: it marks rows as deleted.`);
  if (ofColumns)
    return fault('Rights on columns are not what the application is given: whole rows are its own.');
  if (passes === true) return fault('Whoever gets the right may hand it on.');
  return grantees.some((item) => !('RoleSpec' in item) || item.RoleSpec.rolename !== appRole)
    ? fault(`Nobody but ${appRole} needs rights on tables of tenants.`)
    : [];
}

function rightsOf({ privileges = [] }: GrantStmt): string[] {
  const named = privileges.flatMap((item) => ('AccessPriv' in item ? [item.AccessPriv.priv_name ?? ''] : []));
  return named.length === 0 ? ['all'] : named;
}

/** Tables that the statements make or touch, as they are afterwards. */
function follow(statements: readonly Parsed[], condition: string): Map<string, Table> {
  const tables = new Map<string, Table>();
  for (const at of statements) {
    for (const { name, to } of changesBy(at, condition)) {
      const table = tables.get(name) ?? asItWas(at);
      tables.set(name, { ...table, at, ...to(table) });
    }
    for (const { from, to } of movesBy(at)) {
      const table = tables.get(from);
      if (table !== undefined && to !== undefined) tables.set(to, table);
      tables.delete(from);
    }
  }
  return tables;
}

interface Change {
  name: string;
  to(table: Table): Partial<Table>;
}

function changesBy(at: Parsed, condition: string): Change[] {
  return [
    ...byMaking(at),
    ...byAltering(at),
    ...byPolicy(at, condition),
    ...byRenaming(at),
    ...byGranting(at),
  ];
}

function byMaking(at: Parsed): Change[] {
  const made = tableMade(at.node);
  return made?.relname === undefined || made.relpersistence === 't'
    ? []
    : [{ name: made.relname, to: () => asMade(at) }];
}

function tableMade(node: Node): RangeVar | undefined {
  if ('CreateStmt' in node) return node.CreateStmt.relation;
  if ('SelectStmt' in node) return node.SelectStmt.intoClause?.rel;
  if (!('CreateTableAsStmt' in node) || node.CreateTableAsStmt.objtype !== 'OBJECT_TABLE') return undefined;
  return node.CreateTableAsStmt.into?.rel;
}

function byAltering({ node }: Parsed): Change[] {
  if (!('AlterTableStmt' in node) || node.AlterTableStmt.objtype !== 'OBJECT_TABLE') return [];
  const name = node.AlterTableStmt.relation?.relname ?? '';
  return commandsOf(node.AlterTableStmt).map((command) => ({
    name,
    to: () => changeOf(command, name),
  }));
}

function byPolicy({ node }: Parsed, condition: string): Change[] {
  if ('CreatePolicyStmt' in node) {
    const { policy_name: policy = '', table } = node.CreatePolicyStmt;
    return [withPolicy(table?.relname, policy, isThePolicy(node.CreatePolicyStmt, condition))];
  }
  if ('AlterPolicyStmt' in node) {
    const { policy_name: policy = '', table } = node.AlterPolicyStmt;
    return [withPolicy(table?.relname, policy, false)];
  }
  if (!('DropStmt' in node) || node.DropStmt.removeType !== 'OBJECT_POLICY') return [];
  return (node.DropStmt.objects ?? []).map((object) => {
    const [name = '', policy = ''] = words([object]).slice(-2);
    return withoutPolicy(name, policy);
  });
}

const withPolicy = (name = '', policy: string, right: boolean): Change => ({
  name,
  to: ({ policies }) => ({ policies: new Map([...policies, [policy, right]]) }),
});

const withoutPolicy = (name: string, policy: string): Change => ({
  name,
  to: ({ policies }) => ({ policies: new Map([...policies].filter(([other]) => other !== policy)) }),
});

function byRenaming({ node }: Parsed): Change[] {
  if (!('RenameStmt' in node)) return [];
  const { renameType, relation, subname = '', newname = '' } = node.RenameStmt;
  const name = relation?.relname ?? '';
  if (renameType === 'OBJECT_POLICY') return [withoutPolicy(name, subname), withPolicy(name, newname, false)];
  return renameType === 'OBJECT_COLUMN' && keyColumns.includes(subname)
    ? [{ name, to: ({ column }) => ({ column: column && subname !== tenantColumn, key: false }) }]
    : [];
}

function byGranting({ node }: Parsed): Change[] {
  if (!('GrantStmt' in node) || node.GrantStmt.objtype !== 'OBJECT_TABLE') return [];
  const { objects = [], grantees = [], is_grant: grants } = node.GrantStmt;
  if (!grantees.some((item) => 'RoleSpec' in item && item.RoleSpec.rolename === appRole)) return [];
  const named = rightsOf(node.GrantStmt).flatMap((right) => (right === 'all' ? rights : [right]));
  const left = (granted: ReadonlySet<string>) =>
    grants === true ? [...granted, ...named] : [...granted].filter((right) => !named.includes(right));
  return objects.flatMap((object) =>
    'RangeVar' in object
      ? [
          {
            name: object.RangeVar.relname ?? '',
            to: ({ granted }: Table) => ({ granted: new Set(left(granted)) }),
          },
        ]
      : [],
  );
}

/** Tables that are called something else afterwards, or are gone. */
function movesBy({ node }: Parsed): { from: string; to?: string }[] {
  if ('RenameStmt' in node && node.RenameStmt.renameType === 'OBJECT_TABLE') {
    const { relation, newname } = node.RenameStmt;
    return [{ from: relation?.relname ?? '', ...(newname === undefined ? {} : { to: newname }) }];
  }
  if (!('DropStmt' in node) || node.DropStmt.removeType !== 'OBJECT_TABLE') return [];
  return (node.DropStmt.objects ?? []).map((object) => ({ from: words([object]).at(-1) ?? '' }));
}

/** A table of before is taken to be as tenantTable() makes them. */
function asItWas(at: Parsed): Table {
  return {
    ...{ made: undefined, at, column: true, key: true, enabled: true, forced: true, owned: true },
    policies: new Map([[policyName, true]]),
    granted: new Set(rights),
  };
}

function asMade(at: Parsed): Table {
  const { node } = at;
  const key = constraintsOf(node).some(isKey);
  const elements = 'CreateStmt' in node ? (node.CreateStmt.tableElts ?? []) : [];
  return {
    ...{ made: at, at, enabled: false, forced: false, owned: true, key },
    column: elements.some((element) => isTenantColumn(element, key)),
    policies: new Map(),
    granted: new Set(),
  };
}

function isTenantColumn(element: Node, inKey: boolean): boolean {
  if (!('ColumnDef' in element) || element.ColumnDef.colname !== tenantColumn) return false;
  const { typeName, constraints = [] } = element.ColumnDef;
  const notNull = constraints.some(
    (item) => 'Constraint' in item && item.Constraint.contype === 'CONSTR_NOTNULL',
  );
  return words(typeName?.names).at(-1) === 'uuid' && (notNull || inKey);
}

/** By convention the primary key is called after its table. */
function changeOf(command: AlterTableCmd, table: string): Partial<Table> {
  const dropsKey = command.subtype === 'AT_DropConstraint' && command.name === `${table}_pkey`;
  return dropsKey ? { key: false } : (ofCommand(altered, command) ?? {});
}

const altered: Commands<Partial<Table>> = {
  AT_EnableRowSecurity: () => ({ enabled: true }),
  AT_DisableRowSecurity: () => ({ enabled: false }),
  AT_ForceRowSecurity: () => ({ forced: true }),
  AT_NoForceRowSecurity: () => ({ forced: false }),
  AT_ChangeOwner: ({ newowner }) => ({ owned: newowner?.rolename === ownerRole }),
  AT_AddConstraint: ({ def }) => {
    const key = def !== undefined && 'Constraint' in def ? def.Constraint : undefined;
    return key?.contype === 'CONSTR_PRIMARY' ? { key: isKey(key) } : undefined;
  },
  AT_AddColumn: ({ def }) => (def !== undefined && isTenantColumn(def, false) ? { column: true } : undefined),
  AT_DropColumn: ({ name = '' }) =>
    keyColumns.includes(name) ? { key: false, ...ofTenantColumn(name) } : undefined,
  AT_AlterColumnType: ({ name }) => ofTenantColumn(name),
  AT_DropNotNull: ({ name }) => ofTenantColumn(name),
};

const ofTenantColumn = (name: string | undefined): Partial<Table> =>
  name === tenantColumn ? { column: false } : {};

const isKey = ({ contype, keys }: Constraint): boolean =>
  contype === 'CONSTR_PRIMARY' && words(keys).join() === keyColumns.join();

function isThePolicy(policy: CreatePolicyStmt, condition: string): boolean {
  const { cmd_name: command, permissive, roles = [], qual, with_check: check } = policy;
  const everybody = roles.every((item) => 'RoleSpec' in item && item.RoleSpec.roletype === 'ROLESPEC_PUBLIC');
  return (
    command === 'all' &&
    permissive === true &&
    everybody &&
    [qual, check].every((tree) => JSON.stringify(plain(tree)) === condition)
  );
}
