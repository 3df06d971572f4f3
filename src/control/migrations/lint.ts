import type { LadderName } from './ladder.ts';
import { contract, dataChange } from './lint/change.ts';
import { databaseWide, ownerRights, qualifiedName } from './lint/reach.ts';
import type { Fault, Rule, Step } from './lint/rule.ts';
import { concurrently, opaque, sessionSetting, transactionControl } from './lint/session.ts';
import { askSquawk, type SquawkFinding, type SquawkOptions } from './lint/squawk.ts';
import { squawkRules } from './lint/squawk-rules.ts';
import { tableRules } from './lint/tables.ts';
import { policyCondition, tenantKey } from './lint/tenancy.ts';
import { locksOf } from './locks.ts';
import type { Script } from './script.ts';
import { parseScript, shortened, type Unreadable } from './statements.ts';

/** What is wrong, or dangerous, in a step. */
export interface Finding {
  step: string;
  /** One of ruleNames. */
  rule: string;
  /** The SQL, shortened; empty where it is about the whole step. */
  statement: string;
  message: string;
  /** What to do instead. */
  help?: string;
  /** The reason for which the migration allows it: it does not count. */
  allowed?: string;
}

export interface LintOptions extends SquawkOptions {
  /** Whose rules apply. Default `tenant`. */
  ladder?: LadderName;
}

/** Rules that hold wherever the runner is at work; those of squawk beside them. */
const common: Readonly<Record<string, Rule>> = {
  'session-setting': sessionSetting,
  'transaction-control': transactionControl,
  concurrently,
  opaque,
  contract,
};

/** Those that hold where rows of tenants are. */
const ofTenants: Readonly<Record<string, Rule>> = {
  'tenant-key': tenantKey,
  'qualified-name': qualifiedName,
  'database-wide': databaseWide,
  'owner-rights': ownerRights,
  'data-change': dataChange,
};

/** What PostgreSQL does not read. */
const syntax = 'syntax';
/** What is wrong with allowing, which cannot be allowed itself. */
const allow = 'allow';

/** What `allow` of a migration may name. */
export const ruleNames: readonly string[] = [
  ...[syntax, ...Object.keys({ ...common, ...ofTenants, ...tableRules('') })],
  ...Object.entries(squawkRules).flatMap(([rule, { counts }]) => (counts ? [rule] : [])),
];

/**
 * Judges steps by their text, each alone; needs no database. A hundred steps of twenty statements take 0.8 s of a processor, a
 * single one 0.4 s: the parser is WebAssembly, which is compiled first.
 *
 * @returns findings in the order of steps and statements; those that are allowed, too
 */
export async function lintLadder(
  scripts: readonly Script[],
  { ladder = 'tenant', ...options }: LintOptions = {},
): Promise<Finding[]> {
  const steps = await Promise.all(
    scripts.map(async (script) => ({ script, ...(await parseScript(script)) })),
  );
  // A program of its own, which is at work while we are.
  const asked = askSquawk(
    steps.map(({ script: { step, transactional }, statements }) => ({ step, transactional, statements })),
    options,
  );
  const rules =
    ladder === 'tenant' ? { ...common, ...ofTenants, ...tableRules(await policyCondition()) } : common;
  const findings = steps.map(async ({ script, statements, unreadable }) => [
    ...judged(script, [
      ...unreadable.map(refused),
      ...faultsBy(rules, { ...script, ladder, statements }),
      ...(await asked).flatMap(({ step, ...found }) => (step === script.step ? counted(found) : [])),
      ...(await faultsOfBackfill(script, ladder)),
    ]),
    ...faultsOfAllow(script).map((fault) => findingOf(script, fault)),
  ]);
  return (await Promise.all(findings)).flat();
}

/** What of them stops a run. */
export const objections = (findings: readonly Finding[]): Finding[] =>
  findings.filter(({ allowed }) => allowed === undefined);

interface Named extends Omit<Fault, 'help'> {
  rule: string;
  help: string | undefined;
}

function faultsBy(rules: Readonly<Record<string, Rule>>, step: Step): Named[] {
  return Object.entries(rules).flatMap(([rule, check]) => check(step).map((fault) => ({ rule, ...fault })));
}

const refused = ({ why, ...at }: Unreadable): Named => ({
  ...{ rule: syntax, at, message: `PostgreSQL does not read it: ${why}.`, help: undefined },
});

/** By the table of its rules; a statement without a lock on what is in use blocks nobody. */
function counted(found: Omit<SquawkFinding, 'step'>): Named[] {
  const judgement = squawkRules[found.rule];
  if (judgement === undefined) return [found];
  const harmless = judgement.locks === true && locksOf(found.at)?.length === 0;
  return judgement.counts && !harmless ? [found] : [];
}

/** Its parts make one UPDATE, which comes last. */
async function faultsOfBackfill(script: Script, ladder: LadderName): Promise<Named[]> {
  if (script.backfill === undefined) return [];
  const { table, set, where } = script.backfill;
  const sql = `update ${table} set ${set} where ${where}`;
  const { statements, unreadable } = await parseScript({ statements: [{ sql, bindings: [] }] });
  const at = { sql, position: Infinity };
  const [update, ...more] = statements;
  const faults: Named[] = unreadable.map(refused);
  if (update !== undefined && (more.length > 0 || !('UpdateStmt' in update.node))) {
    const help = 'export const backfill = { table, set, where }: the parts of one UPDATE.';
    faults.push({ rule: syntax, message: 'The parts of backfill do not make one UPDATE.', help });
  }
  const rules = { 'qualified-name': qualifiedName, 'session-setting': sessionSetting };
  faults.push(...faultsBy(rules, { ...script, ladder, statements }));
  return faults.map((fault) => ({ ...fault, at }));
}

function judged(script: Script, faults: readonly Named[]): Finding[] {
  // Two parts of a statement may break a rule in the same way: that is told once.
  const different = new Map(
    faults.map((fault) => [JSON.stringify([fault.rule, fault.message, fault.at?.position]), fault]),
  );
  return [...different.values()]
    .toSorted((a, b) => (a.at?.position ?? -1) - (b.at?.position ?? -1))
    .map((fault) => findingOf(script, fault, reasonFor(script, fault.rule)));
}

function findingOf({ step }: Script, { rule, at, message, help }: Named, reason?: string): Finding {
  return {
    ...{ step, rule, statement: shortened(at?.sql ?? ''), message },
    ...(help === undefined ? {} : { help }),
    ...(reason === undefined ? {} : { allowed: reason }),
  };
}

function reasonFor({ allow: reasons }: Script, rule: string): string | undefined {
  const reason = Object.hasOwn(reasons, rule) ? reasons[rule] : undefined;
  return hasWords(reason) ? reason : undefined;
}

/** A migration may be JavaScript. */
const hasWords = (reason: unknown): reason is string => typeof reason === 'string' && reason.trim() !== '';

/** What a step allows wrongly, and what it keeps from squawk without a reason. */
function faultsOfAllow({ allow: reasons, statements }: Script): Named[] {
  const help = `export const allow = { 'name-of-the-rule': 'the reason' }`;
  const wrong = Object.entries(reasons).flatMap(([rule, reason]) => {
    if (!ruleNames.includes(rule)) return [`There is no rule ${rule} that could be allowed.`];
    return hasWords(reason) ? [] : [`It does not say why ${rule} does not count here.`];
  });
  const hidden = statements.filter(({ sql }) => sql.includes('squawk-ignore'));
  const message = 'A comment keeps findings back, without a reason.';
  return [
    ...wrong.map((text): Named => ({ rule: allow, message: text, help })),
    ...hidden.map(({ sql }): Named => ({ rule: allow, at: { sql, position: 0 }, message, help })),
  ];
}
