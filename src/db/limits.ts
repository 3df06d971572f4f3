/** How long PostgreSQL may take, in milliseconds. */
export interface Limits {
  /** Waiting for a free connection, or for a new one. */
  readonly acquireMs: number;
  /** A statement; one waiting for locks included. */
  readonly statementMs: number;
  /** Waiting for one lock. */
  readonly lockMs: number;
  /** A transaction that waits for us. */
  readonly idleInTransactionMs: number;
}

/**
 * By what the connection is for. Statements that serve stay below max_standby_streaming_delay (30 s by default): a replica
 * would cancel them by then. Probes must be quicker than what they report. A bulk statement hands over a whole table, at
 * the pace of whoever takes it.
 */
export const limits = {
  serving: { acquireMs: 3000, statementMs: 15_000, lockMs: 5000, idleInTransactionMs: 10_000 },
  control: { acquireMs: 5000, statementMs: 15_000, lockMs: 5000, idleInTransactionMs: 30_000 },
  bulk: { acquireMs: 5000, statementMs: 3_600_000, lockMs: 5000, idleInTransactionMs: 120_000 },
  probe: { acquireMs: 1000, statementMs: 1000, lockMs: 500, idleInTransactionMs: 1000 },
} as const satisfies Record<string, Limits>;

/** As PostgreSQL's settings. */
export function serverSettings({ statementMs, lockMs, idleInTransactionMs }: Limits) {
  return {
    statement_timeout: statementMs,
    lock_timeout: lockMs,
    idle_in_transaction_session_timeout: idleInTransactionMs,
  };
}
