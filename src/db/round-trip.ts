import type { Step, StepResult } from './batch.ts';
import type { Lease } from './pool.ts';

/** One object per trip, of one shape: thousands are made in a second. */
export class RoundTrip {
  /** One implicit transaction, or a part of one with others that have the same `afterwards`. */
  readonly steps: readonly Step[];
  /**
   * Of a trip that writes: sent in the same write, and carried out when the transaction has been committed. When they fail
   * there are no answers to them.
   */
  readonly afterwards: readonly Step[] | undefined;
  /** It has failed with others, of which one was the cause. */
  alone = false;
  /** Who may stop waiting; looked up only when it takes long. */
  readonly signal: () => AbortSignal | undefined;
  /** Told when it is sent. */
  readonly sending: () => void;
  /** Looks through an answer before the connection is used for anybody else. */
  readonly check: (lease: Lease, results: readonly StepResult[]) => void;
  readonly askedMs = performance.now();
  resolve: (results: StepResult[]) => void = ignore;
  reject: (error: unknown) => void = ignore;

  constructor(
    steps: readonly Step[],
    afterwards: readonly Step[] | undefined,
    signal: () => AbortSignal | undefined,
    sending: () => void,
    check: (lease: Lease, results: readonly StepResult[]) => void,
  ) {
    this.steps = steps;
    this.afterwards = afterwards;
    this.signal = signal;
    this.sending = sending;
    this.check = check;
  }
}

const ignore = () => undefined;
