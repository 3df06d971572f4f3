/** What a finding of squawk is worth here, and why. */
interface Judgement {
  /** False: what it finds does not count. */
  counts: boolean;
  /** It is about locks on tables: a statement that takes none on tables of before does no harm. */
  locks?: true;
  why: string;
}

/** squawk's rules, one by one. One that is not here counts: it came with a newer squawk. */
export const squawkRules: Readonly<Record<string, Judgement>> = {
  'adding-field-with-default': {
    counts: true,
    locks: true,
    why: 'A volatile default rewrites the table, reads blocked.',
  },
  'adding-foreign-key-constraint': {
    counts: true,
    locks: true,
    why: 'Both tables take no writes while it looks at all rows.',
  },
  'adding-not-nullable-field': {
    counts: true,
    locks: true,
    why: 'SET NOT NULL looks at all rows, reads blocked.',
  },
  'adding-required-field': { counts: true, locks: true, why: 'It fails where there are rows.' },
  'adding-serial-primary-key-field': {
    counts: true,
    locks: true,
    why: 'The index is built with reads blocked.',
  },
  'changing-column-type': { counts: true, locks: true, why: 'It rewrites the table, reads blocked.' },
  'constraint-missing-not-valid': { counts: true, locks: true, why: 'It looks at all rows under a lock.' },
  'disallowed-unique-constraint': {
    counts: true,
    locks: true,
    why: 'The index is built with reads blocked.',
  },
  'require-concurrent-index-creation': {
    counts: true,
    locks: true,
    why: 'Writes wait while the index is built.',
  },
  'require-concurrent-index-deletion': {
    counts: true,
    locks: true,
    why: 'It waits for all readers, and all wait for it.',
  },
  'require-concurrent-partition-detach': { counts: true, locks: true, why: 'Reads are blocked.' },
  'require-concurrent-reindex': { counts: true, locks: true, why: 'Writes wait while the index is built.' },
  'prefer-repack': {
    counts: true,
    locks: true,
    why: 'VACUUM FULL and CLUSTER rewrite the table, reads blocked.',
  },
  'ban-alter-domain-with-add-constraint': { counts: true, why: 'It looks at every table with the domain.' },
  'ban-create-domain-with-constraint': {
    counts: true,
    why: 'The constraint can never be changed without that.',
  },
  'ban-char-field': { counts: true, why: 'char(n) pads with blanks: a mistake, not a taste.' },
  'prefer-timestamp-tz': { counts: true, why: 'Times are timestamptz: one without a zone is no moment.' },
  'identifier-too-long': { counts: true, why: 'PostgreSQL cuts it off at 63 bytes without a word of it.' },

  'require-timeout-settings': { counts: false, why: 'The runner sets the time-outs of every step.' },
  'require-lock-timeout': { counts: false, why: 'The runner sets it.' },
  'require-statement-timeout': { counts: false, why: 'The runner sets it.' },
  'prefer-robust-stmts': {
    counts: false,
    why: 'A step and its entry in the ledger are committed together; what is built concurrently the runner takes up again.',
  },
  'transaction-nesting': { counts: false, why: 'transaction-control says it.' },
  'ban-uncommitted-transaction': { counts: false, why: 'transaction-control says it.' },
  'ban-concurrent-index-creation-in-transaction': { counts: false, why: 'concurrently says it.' },
  'ban-drop-column': { counts: false, why: 'contract says it, and knows the step that may.' },
  'ban-drop-table': { counts: false, why: 'contract says it, and knows the step that may.' },
  'ban-drop-not-null': { counts: false, why: 'contract says it, and knows the step that may.' },
  'renaming-column': { counts: false, why: 'contract says it, and knows the step that may.' },
  'renaming-table': { counts: false, why: 'contract says it, and knows the step that may.' },
  'ban-drop-database': { counts: false, why: 'database-wide says it.' },
  'ban-truncate-cascade': { counts: false, why: 'data-change says it of every TRUNCATE.' },
  'prefer-identity': {
    counts: false,
    why: 'owner-rights says it of every sequence, that of an identity, too.',
  },
  'require-table-schema': { counts: false, why: 'The opposite holds: qualified-name.' },
  'unused-ignore': { counts: false, why: 'Comments for squawk are not the way here: allow.' },
  'prefer-bigint-over-int': { counts: false, why: 'Taste: a count of stock or a version needs no 64 bits.' },
  'prefer-bigint-over-smallint': { counts: false, why: 'Taste.' },
  'prefer-text-field': { counts: false, why: 'Taste: a varchar can be made longer without a rewrite.' },
  'require-enum-value-ordering': { counts: false, why: 'Taste: the end is where a new value is expected.' },
};
