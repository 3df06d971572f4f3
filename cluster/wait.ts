/** Waiting for a fact by looking again and again. */
import { setTimeout as sleep } from 'node:timers/promises';

const LOOK_EVERY_MS = 3;

/**
 * Resolves with the first answer of `look` that is neither false nor undefined.
 * @throws when there was none within `withinMs`; the message says that `what` did not happen.
 */
export async function waitUntil<T>(
  what: string,
  withinMs: number,
  look: () => Promise<T | false | undefined> | T | false | undefined,
): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const answer = await look();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() > deadline) throw new Error(`Waited ${withinMs} ms in vain until ${what}`);
    await sleep(LOOK_EVERY_MS);
  }
}
