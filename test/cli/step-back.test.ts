import { afterEach, expect, it } from '@jest/globals';
import os from 'node:os';
import { builtProgram, killChildren, start } from '../support/child.ts';
import { useDatabase } from '../support/database.ts';
import { useFolder } from '../support/folder.ts';
import { until } from '../support/until.ts';

const database = useDatabase();
const folder = useFolder();
afterEach(killChildren);

/** The lowest that was seen, which is the highest number. */
async function priorityOf(env: Record<string, string>): Promise<number> {
  const child = start(builtProgram(), ['migrate', 'status'], {
    env: { ...database.env(), ...env },
    cwd: folder(),
  });
  let lowest = os.getPriority(child.pid);
  await until(() => {
    if (child.code() !== undefined) return true;
    try {
      lowest = Math.max(lowest, os.getPriority(child.pid));
    } catch {
      // It has just ended.
    }
    return false;
  }, 'it to end');
  expect(child.code()).toBe(0);
  return lowest;
}

it('a run lets others go first where it is told what serves clients, and nowhere else', async () => {
  const { PRIORITY_BELOW_NORMAL } = os.constants.priority;
  const usual = os.getPriority();
  expect(await priorityOf({})).toBe(usual);
  const watching = await priorityOf({ MIGRATE_WATCH_URLS: 'http://127.0.0.1:1/metrics' });
  expect(watching).toBe(Math.max(usual, PRIORITY_BELOW_NORMAL));
});
