import type { LadderName } from '../ladder.ts';
import type { Script } from '../script.ts';
import type { Parsed } from '../statements.ts';

/** What rules look at: one step, by its statements. */
export interface Step extends Pick<Script, 'transactional' | 'contract' | 'opaque'> {
  ladder: LadderName;
  statements: readonly Parsed[];
}

/** What a rule found. */
export interface Fault {
  /** Absent where it is about the whole step. */
  at?: { sql: string; position: number };
  message: string;
  /** What to do instead. */
  help: string;
}

/** Pure: the same step, the same faults. */
export type Rule = (step: Step) => Fault[];

/** A rule that looks at each statement alone. */
export function each(check: (statement: Parsed, step: Step) => Omit<Fault, 'at'> | undefined): Rule {
  return (step) =>
    step.statements.flatMap((statement) => {
      const fault = check(statement, step);
      return fault === undefined ? [] : [{ at: statement, ...fault }];
    });
}
