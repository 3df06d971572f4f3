import os from 'node:os';

/**
 * Whoever names what serves clients wants it to go first where it shares a machine with a run: from here on this process gets
 * what others leave of the processors. Its start is most of what it takes of them, so this comes before its modules.
 */
export function stepBack({ MIGRATE_WATCH_URLS: watched = '' }: NodeJS.ProcessEnv): void {
  if (watched === '') return;
  const { PRIORITY_BELOW_NORMAL } = os.constants.priority;
  try {
    if (os.getPriority() < PRIORITY_BELOW_NORMAL) os.setPriority(PRIORITY_BELOW_NORMAL);
  } catch {
    // A sandbox may refuse it; then it is as if nothing were watched at the start.
  }
}
