/** Time is passed in, never imported, so that a test can own it. */
export interface Clock {
  /** Wall clock, milliseconds since the epoch: for what is stored or shown. */
  nowMs(): number;
  /** Never goes back and never jumps, milliseconds from an arbitrary start: for windows and durations. */
  monotonicMs(): number;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};

/** Milliseconds since the epoch as ISO 8601 in UTC. */
export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
