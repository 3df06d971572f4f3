import { expect, it } from '@jest/globals';
import fc from 'fast-check';
import { createPace } from '../../src/control/tenants/purge/pace.ts';
import { referringFirst } from '../../src/control/tenants/purge/tables.ts';

const table = (name: string) => ({ name });

it('rows go before the rows that they refer to, whatever refers to what', () => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
  const references = fc.array(fc.tuple(fc.nat(6), fc.nat(6)));
  fc.assert(
    fc.property(references, fc.shuffledSubarray(names, { minLength: 7 }), (pairs, order) => {
      // From a later name to an earlier one: no circles.
      const edges = pairs
        .filter(([from, to]) => from > to)
        .map(([from, to]) => [names[from], names[to]] as const);
      const ordered = referringFirst(order.map(table), ({ name }) =>
        edges.filter(([from]) => from === name).map(([, to]) => to ?? ''),
      ).map(({ name }) => name);
      expect(ordered.toSorted()).toEqual(names);
      for (const [from = '', to = ''] of edges)
        expect(ordered.indexOf(from)).toBeLessThan(ordered.indexOf(to));
    }),
  );
});

it('a circle of references does not keep it for ever', () => {
  const targets: Record<string, string[]> = { a: ['b'], b: ['a'], c: ['a'] };
  const ordered = referringFirst(['a', 'b', 'c'].map(table), ({ name }) => targets[name] ?? []);
  expect(ordered.map(({ name }) => name)).toEqual(['c', 'a', 'b']);
});

it('a purge rests while a replica is behind, and not for one that is down', async () => {
  let looks = 0;
  const signal = new AbortController().signal;
  const clock = { nowMs: () => 0, monotonicMs: () => 0 };
  const behind = createPace({
    clock,
    maxLagMs: 2000,
    nodes: () => {
      looks += 1;
      return [{ role: 'replica', state: 'stale', lagMs: looks < 3 ? 1500 : 10 }];
    },
  });
  await behind.rest(0, signal);
  expect(looks).toBe(3);
  const down = createPace({
    clock,
    maxLagMs: 2000,
    nodes: () => [{ role: 'replica', state: 'down', lagMs: 9999 }],
  });
  await down.rest(0, signal);
});

it('a purge does not wait for ever for a replica that never catches up, and ends its rest when it is to stop', async () => {
  let nowMs = 0;
  const clock = { nowMs: () => nowMs, monotonicMs: () => (nowMs += 20_000) };
  const nodes = () => [{ role: 'replica', state: 'stale', lagMs: 9999 } as const];
  const pace = createPace({ clock, maxLagMs: 2000, nodes });
  await pace.rest(0, new AbortController().signal);
  const stopped = new AbortController();
  const resting = pace.rest(60_000, stopped.signal);
  stopped.abort(new Error('stop'));
  await expect(resting).rejects.toThrow('stop');
});
