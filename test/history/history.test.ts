import { expect, it } from '@jest/globals';
import { lineOf } from './operation.ts';
import { runHistory } from './run.ts';

/** Short, and always the same faults. `npm run test:history` takes longer and chooses its own. */
const seed = 20;

it(`two processes under faults keep every promise (seed ${seed})`, async () => {
  const found: string[] = [];
  const tally = await runHistory({
    seed,
    lastsMs: 20_000,
    onViolation: ({ rule, text, earlier, operation }) =>
      found.push(
        [rule, text, ...[earlier, operation].flatMap((each) => (each ? [lineOf(each)] : []))].join('\n'),
      ),
  });
  expect(found.slice(0, 10)).toEqual([]);
  // That it was a history at all.
  expect(tally.refused).toBe(0);
  expect(tally.faults).toBeGreaterThan(2);
  expect(tally.writes - tally.unknownWrites).toBeGreaterThan(100);
  const byReplicas = [...tally.served].filter(([by]) => by.startsWith('replica'));
  expect(byReplicas.reduce((sum, [, reads]) => sum + reads, 0)).toBeGreaterThan(500);
}, 90_000);
