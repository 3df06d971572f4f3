import type { Logger } from 'pino';
import type { StatementFacts } from '../db/index.ts';

/**
 * A line for each statement that takes `thresholdMs` or longer. It names the statement and never holds a value; of an
 * error only PostgreSQL's code, for its message may quote one.
 */
export function slowStatements(
  logger: Logger,
  thresholdMs: number,
  activeTraceId: () => string | undefined,
): (facts: StatementFacts) => void {
  return ({ name, node, reason, ms, scope, error }) => {
    if (ms < thresholdMs) return;
    const line = {
      statement: name,
      node,
      reason,
      ms: Math.round(ms),
      tenant: scope?.tenant.id,
      requestId: scope?.requestId,
      trace_id: activeTraceId(),
      error: errorCode(error),
    };
    logger.warn(line, 'a slow statement');
  };
}

/** SQLSTATE, or what the driver or the system calls it. */
export function errorCode(error: unknown): string | undefined {
  if (error === undefined) return undefined;
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' ? code : 'unknown';
}
