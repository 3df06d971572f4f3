import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import type { DatabaseObserver, StatementFacts } from '../db/index.ts';
import { slowStatements } from './slow-statements.ts';
import { createTracing, type Tracing } from './tracing.ts';

/** What is told of statements in a process whose figures nobody asks for: lines for what was slow, and spans. */
export function statementObserver(
  { slowStatementMs, clock, logger }: { slowStatementMs: number; clock: Clock; logger: Logger },
  tracing: Tracing | undefined = createTracing(clock),
): Pick<DatabaseObserver, 'statement'> {
  const told: ((facts: StatementFacts) => void)[] = [];
  if (slowStatementMs > 0) {
    told.push(slowStatements(logger, slowStatementMs, () => tracing?.activeId()));
  }
  if (tracing !== undefined) told.push((facts) => tracing.statement(facts));
  return told.length === 0 ? {} : { statement: (facts) => told.forEach((tell) => tell(facts)) };
}
