import { setTimeout as pause } from 'node:timers/promises';

/** Asks until the answer is yes. @throws Error after 10 s, naming what was waited for */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what = 'a condition',
  patienceMs = 10_000,
): Promise<void> {
  const startedMs = performance.now();
  while (!(await condition())) {
    if (performance.now() - startedMs > patienceMs)
      throw new Error(`Waited ${patienceMs} ms in vain for ${what}`);
    await pause(5);
  }
}
