import type { Node, VariableSetStmt } from 'libpg-query';
import { calls, optionOf, walk } from '../statements.ts';
import { each, type Rule } from './rule.ts';
import { tenantSetting } from './tenancy.ts';

/** Rules about the connection and the transaction that the runner lends to a step. */

const helpOfSession =
  'Leave it out: what a step needs of the session is set by the runner, for every schema alike.';

/** Set by the runner, or what keeps tenants apart hangs on it: not to be changed even until the end of a transaction. */
const reserved = new Set([
  ...['search_path', 'role', 'session_authorization', 'row_security', 'session_replication_role'],
  ...['lock_timeout', 'statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout'],
  ...['client_connection_check_interval', tenantSetting],
]);

/** Statements that leave something behind in the session. */
const lingering: ReadonlySet<string> = new Set([
  ...['ListenStmt', 'UnlistenStmt', 'LoadStmt', 'DiscardStmt', 'PrepareStmt', 'DeallocateStmt'],
]);

export const sessionSetting: Rule = each(({ node }) => {
  const what = setting(node) ?? advisoryLock(node) ?? lingers(node);
  return what === undefined ? undefined : { message: what, help: helpOfSession };
});

function setting(node: Node): string | undefined {
  if ('VariableSetStmt' in node) return ofSet(node.VariableSetStmt);
  for (const { name, args } of calls(node)) {
    if (name !== 'set_config') continue;
    const [variable, , local] = args.map(constant);
    if (local !== true) return 'set_config() changes the session, which serves other schemas afterwards.';
    if (typeof variable !== 'string' || isReserved(variable)) return ofReserved(variable);
  }
  return undefined;
}

function ofSet({ kind, name = 'all', is_local: local }: VariableSetStmt): string | undefined {
  if (kind === 'VAR_SET_MULTI')
    return 'It changes the transaction, or those after it, which the runner has begun.';
  if (local !== true) return `It sets ${name} for the session, which serves other schemas afterwards.`;
  return isReserved(name) ? ofReserved(name) : undefined;
}

/** PostgreSQL takes names of settings in any case. */
const isReserved = (name: string) => reserved.has(name.toLowerCase());
const ofReserved = (name: unknown) =>
  `It sets ${typeof name === 'string' ? name : 'something'}, which the runner has set for the whole transaction.`;

function constant(node: Node): string | boolean | undefined {
  if (!('A_Const' in node)) return undefined;
  const { sval, boolval } = node.A_Const;
  // False and the empty text are what the tree leaves out.
  return sval === undefined ? boolval && (boolval.boolval ?? false) : (sval.sval ?? '');
}

/** Those of the transaction are no trouble. */
const ofTheSession = /^pg_(try_)?advisory_(lock|unlock)/;

function advisoryLock(node: Node): string | undefined {
  const lock = calls(node).find(({ name }) => ofTheSession.test(name));
  return lock && `${lock.name}() is of the session, and the connection serves other schemas afterwards.`;
}

function lingers(node: Node): string | undefined {
  const [kind = ''] = Object.keys(node);
  if (lingering.has(kind))
    return 'It leaves something behind in the session, which serves other schemas afterwards.';
  if ('DeclareCursorStmt' in node) return 'A cursor is of no use here, and may outlive the step.';
  return temporary(node) ? 'A temporary table outlives the step: the next schema finds it there.' : undefined;
}

function temporary(node: Node): boolean {
  if ('CreateStmt' in node) {
    const { relation, oncommit } = node.CreateStmt;
    return relation?.relpersistence === 't' && oncommit !== 'ONCOMMIT_DROP';
  }
  let found = false;
  if ('CreateTableAsStmt' in node || 'ViewStmt' in node || 'CreateSeqStmt' in node) {
    walk(node, (fields) => void (found ||= fields['relpersistence'] === 't'));
  }
  return found;
}

export const transactionControl: Rule = each(({ node }) =>
  'TransactionStmt' in node
    ? {
        message: 'A step is applied in one transaction with its entry in the ledger, which the runner ends.',
        help: 'Leave it out. What must be committed before the rest is a step of its own.',
      }
    : undefined,
);

export const concurrently: Rule = each(({ node }, { transactional }) => {
  const concurrent = concurrentIndex(node);
  if (transactional) {
    return concurrent === undefined && !outside(node)
      ? undefined
      : {
          message: 'PostgreSQL refuses it within a transaction.',
          help: `Put it into a step of its own that says export const config = { transaction: false }.`,
        };
  }
  if (concurrent === undefined) {
    return {
      message:
        'Outside of a transaction a step that is interrupted is done by half: only what builds or drops indexes concurrently is found and taken up again.',
      help: 'Put it into a step with a transaction.',
    };
  }
  return concurrent === 'nameless'
    ? {
        message: 'An index without a name cannot be looked for when its building was interrupted.',
        help: 'Name it: create index concurrently … on ….',
      }
    : undefined;
});

/** Undefined for everything that does not build or drop an index without holding up writes. */
function concurrentIndex(node: Node): 'named' | 'nameless' | undefined {
  if ('IndexStmt' in node && node.IndexStmt.concurrent === true) {
    return node.IndexStmt.idxname === undefined ? 'nameless' : 'named';
  }
  if ('DropStmt' in node && node.DropStmt.concurrent === true) return 'named';
  if ('ReindexStmt' in node) {
    const { params = [], relation } = node.ReindexStmt;
    const asked = optionOf(params, 'concurrently') !== undefined;
    return asked && relation !== undefined ? 'named' : undefined;
  }
  return undefined;
}

/** What else cannot be in a transaction. */
function outside(node: Node): boolean {
  if ('VacuumStmt' in node) return node.VacuumStmt.is_vacuumcmd === true;
  if ('ReindexStmt' in node) return node.ReindexStmt.relation === undefined;
  if (!('AlterTableStmt' in node)) return false;
  return (node.AlterTableStmt.cmds ?? []).some(
    (item) =>
      'AlterTableCmd' in item &&
      item.AlterTableCmd.subtype === 'AT_DetachPartition' &&
      item.AlterTableCmd.def !== undefined &&
      'PartitionCmd' in item.AlterTableCmd.def &&
      item.AlterTableCmd.def.PartitionCmd.concurrent === true,
  );
}

/** What is found out while it runs is not judged, so it is to be looked at by a person. */
export const opaque: Rule = (step) => {
  const help =
    'Write out the statements. If that cannot be, allow it with the reason why it is safe in every schema.';
  const hidden = each(({ node }) => {
    if ('DoStmt' in node) return { message: 'What a DO block executes is not looked at.', help };
    if ('CallStmt' in node) return { message: 'What a procedure executes is not looked at.', help };
    return undefined;
  })(step);
  return step.opaque === undefined ? hidden : [{ message: step.opaque, help }, ...hidden];
};
