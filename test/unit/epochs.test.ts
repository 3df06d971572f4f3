import { expect, it } from '@jest/globals';
import { createEpochs } from '../../src/control/epochs.ts';

interface Change {
  id: string;
  slug: string;
  epoch: number;
}

/** A server that knows these changes, and a clock. */
function scene() {
  let nowMs = 1000;
  let rows: Change[] | undefined = [];
  const heard: (string[] | 'all')[] = [];
  let asked = 0;
  const epochs = createEpochs({
    clock: { nowMs: () => nowMs, monotonicMs: () => nowMs },
    changed: (tenants) => heard.push(tenants === 'all' ? 'all' : tenants.map(({ slug }) => slug)),
    database: {
      async lookUp<Row>(_schema: string, _text: string, [since]: readonly unknown[]): Promise<Row[]> {
        asked += 1;
        if (rows === undefined) throw new Error('nobody answers');
        const newest = Math.max(...rows.map(({ epoch }) => epoch));
        const told = rows.filter(({ epoch }) => epoch >= Number(since) || epoch === newest);
        return told.toSorted((a, b) => a.epoch - b.epoch) as Row[];
      },
    },
  });
  const tenants = (...slugs: string[]) =>
    slugs.map((text) => {
      const [slug = '', epoch] = text.split(' ');
      return { id: `id of ${slug}`, slug, epoch: Number(epoch) };
    });
  return {
    epochs,
    heard,
    asked: () => asked,
    pass: (ms: number) => {
      nowMs += ms;
    },
    is: (...slugs: string[]) => {
      rows = tenants(...slugs);
    },
    silent: () => {
      rows = undefined;
    },
    async hears() {
      heard.length = 0;
      await epochs.refresh();
      return heard;
    },
  };
}

it('tells who has changed since the last answer, and nobody when nobody has', async () => {
  const { epochs, is, hears } = scene();
  is('ash 1', 'birch 2', 'cedar 3');
  await epochs.refresh();
  expect(epochs.current()).toBe(3);
  expect(await hears()).toEqual([]);
  is('cedar 3', 'birch 4', 'ash 5');
  expect(await hears()).toEqual([['birch', 'ash']]);
  is('cedar 3', 'birch 4', 'ash 6');
  expect(await hears()).toEqual([['ash']]);
});

it.each([
  ['knows less', ['ash 1', 'birch 2']],
  ['has given the number to another change', ['ash 1', 'cedar 2', 'birch 3']],
  ['has gone on after that', ['cedar 1', 'birch 4', 'ash 5']],
  ['knows nobody', []],
])('forgets everything before a server that %s', async (_what, then) => {
  const { epochs, is, hears } = scene();
  is('ash 1', 'birch 2', 'cedar 3');
  await epochs.refresh();
  is(...then);
  expect(await hears()).toEqual(['all']);
});

it('lets nobody wait as long as an answer is young, and asks in the background before it is old', async () => {
  const { epochs, is, pass, asked } = scene();
  is('ash 1');
  expect(epochs.known()).toBe(false);
  await epochs.learn();
  const before = asked();
  expect(epochs.known()).toBe(true);
  expect(asked()).toBe(before);
  pass(500);
  expect(epochs.known()).toBe(true);
  expect(epochs.known()).toBe(true);
  expect(asked()).toBe(before + 1);
  await epochs.learn();
  pass(1000);
  expect(epochs.known()).toBe(false);
});

it('goes on without an answer for fifteen seconds, and then serves nobody until there is one', async () => {
  const { epochs, is, pass, silent } = scene();
  is('ash 1');
  await epochs.learn();
  silent();
  pass(10_000);
  await epochs.learn();
  // Who has just waited in vain is not made to wait again at once.
  expect(epochs.known()).toBe(true);
  pass(6000);
  expect(epochs.known()).toBe(false);
  await expect(epochs.learn()).rejects.toMatchObject({ code: 'unavailable', retryAfterS: 1 });
  is('ash 2');
  await epochs.learn();
  expect(epochs.known()).toBe(true);
  expect(epochs.current()).toBe(2);
});
