import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { type Admission, controlPlane, createAdmission, type Place } from '../../src/db/admission.ts';

/** Time is the test's: the clock that is passed in, and the timers of those who wait. */
let nowMs = 0;
const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs };
const patienceMs = 3000;

beforeEach(() => {
  nowMs = 0;
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

function advance(ms: number): void {
  nowMs += ms;
  jest.advanceTimersByTime(ms);
}

const settled = () => jest.advanceTimersByTimeAsync(0);

function enterAll(admission: Admission, who: string, count: number): Place[] {
  return Array.from({ length: count }, () => admission.enter(who)).filter((place) => place !== undefined);
}

/** Waits, and tells in `order` when it is let in. */
function queue(admission: Admission, who: string, order: string[]): void {
  admission.wait(who).then(
    () => order.push(who),
    () => order.push(`${who} refused`),
  );
}

describe('connections that are free', () => {
  it.each([
    [1, 1],
    [2, 2],
    [4, 4],
    [5, 4],
    [10, 8],
    [20, 16],
  ])('of %i one tenant alone gets %i', (max, share) => {
    const admission = createAdmission({ max, clock, patienceMs });
    expect(enterAll(admission, 'a', max + 1)).toHaveLength(share);
  });

  it('are there for a second and a third tenant, and the last one for the control plane', () => {
    const admission = createAdmission({ max: 10, clock, patienceMs });
    enterAll(admission, 'flood', 10);
    expect(enterAll(admission, 'b', 2)).toHaveLength(1);
    expect(enterAll(admission, 'c', 1)).toHaveLength(0);
    expect(enterAll(admission, controlPlane, 2)).toHaveLength(1);
  });

  it('can be taken again as soon as they are given back', () => {
    const admission = createAdmission({ max: 1, clock, patienceMs });
    const [place] = enterAll(admission, 'a', 1);
    expect(admission.enter('b')).toBeUndefined();
    admission.leave(place ?? {});
    expect(admission.enter('b')).toBeDefined();
    expect(admission.figures()).toEqual({ waiting: 0, waited: 0, refused: 0 });
  });

  it('are shared by round trips of tenants whose units have been short lately, and by no others', () => {
    const admission = createAdmission({ max: 10, clock, patienceMs });
    const trips = (who: string, count: number) =>
      Array.from({ length: count }, () => admission.enter(who, true)).filter((place) => place !== undefined);
    const tenants = Array.from({ length: 12 }, (_, index) => `t${index}`);
    // Nothing is known of them yet: nine of ten connections.
    const first = tenants.flatMap((who) => trips(who, 1));
    expect(first).toHaveLength(9);
    for (const place of first) admission.leave(place, 2);
    for (const who of tenants.slice(9)) for (const place of trips(who, 1)) admission.leave(place, 2);

    const four = tenants.flatMap((who) => trips(who, 4));
    expect(four).toHaveLength(36);
    for (const place of four) admission.leave(place, 2);
    // However short they are, one tenant has no more under way.
    const alone = trips('t0', 20);
    expect(alone).toHaveLength(8);
    // One long unit is enough, and only what is a round trip shares.
    for (const place of alone) admission.leave(place, 50);
    expect(trips('t0', 3)).toHaveLength(1);
    expect(enterAll(admission, 't1', 3)).toHaveLength(3);
    expect(tenants.slice(2).flatMap((who) => trips(who, 4))).toHaveLength(20);
  });

  it('are for long units, too, except that few of those are under way while short ones are about', async () => {
    const admission = createAdmission({ max: 10, maxLong: 2, clock, patienceMs });
    const known = (who: string, tookMs: number) => {
      for (const place of enterAll(admission, who, 1)) admission.leave(place, tookMs);
    };
    known('reports', 2);
    known('reports', 300); // it was short itself, a moment ago, which is no other
    const alone = enterAll(admission, 'reports', 10);
    expect(alone).toHaveLength(8);
    for (const place of alone) admission.leave(place, 300);

    known('clicks', 2);
    known('clicks', 2);
    const few = enterAll(admission, 'reports', 10);
    expect(few).toHaveLength(2);
    expect(enterAll(admission, 'more reports', 10)).toHaveLength(2); // nothing is known of it
    expect(enterAll(admission, 'clicks', 3)).toHaveLength(3);
    const order: string[] = [];
    queue(admission, 'reports', order);
    advance(999);
    admission.leave(enterAll(admission, controlPlane, 1)[0] ?? {}, 2);
    await settled();
    expect(order).toEqual([]);
    advance(1);
    admission.leave(few[0] ?? {}, 300);
    await settled();
    expect(order).toEqual(['reports']);
    expect(enterAll(admission, 'reports', 1)).toHaveLength(1);
  });
});

describe('those who wait', () => {
  it('go in the order of what they have held lately, and one tenant in the order in which it came', async () => {
    const admission = createAdmission({ max: 1, clock, patienceMs });
    const order: string[] = [];
    const [heavy] = enterAll(admission, 'heavy', 1);
    advance(1000);
    for (const who of ['heavy', 'heavy', 'light']) queue(admission, who, order);
    admission.leave(heavy ?? {});
    await settled();
    expect(order).toEqual(['light']);
  });

  it('go after the control plane', async () => {
    const admission = createAdmission({ max: 1, clock, patienceMs });
    const order: string[] = [];
    const [place] = enterAll(admission, 'a', 1);
    queue(admission, 'b', order);
    advance(10);
    queue(admission, controlPlane, order);
    admission.leave(place ?? {});
    await settled();
    expect(order).toEqual([controlPlane]);
  });

  it('are refused after their patience, and take nobody else’s place then', async () => {
    const admission = createAdmission({ max: 1, clock, patienceMs });
    const order: string[] = [];
    const [place] = enterAll(admission, 'a', 1);
    queue(admission, 'b', order);
    advance(patienceMs - 1);
    queue(admission, 'c', order);
    advance(1);
    await settled();
    expect(order).toEqual(['b refused']);
    admission.leave(place ?? {});
    await settled();
    expect(order).toEqual(['b refused', 'c']);
    expect(admission.figures()).toEqual({ waiting: 0, waited: 2, refused: 1 });
  });

  it('are told whether the node is stuck or merely busy: only then another node may be luckier', async () => {
    const stuck = createAdmission({ max: 1, clock, patienceMs });
    enterAll(stuck, 'a', 1);
    const inVain = expect(stuck.wait('b')).rejects.toMatchObject({
      code: 'unavailable',
      retryAfterS: 1,
      cause: expect.anything(),
    });
    const busy = createAdmission({ max: 1, clock, patienceMs });
    const [place] = enterAll(busy, 'a', 1);
    const late = busy.wait('a');
    void busy.wait('c').catch(() => undefined);
    const refused = late.catch((error: unknown) => error);
    const full = createAdmission({ max: 1, clock, patienceMs, maxWaitingEach: 1 });
    enterAll(full, 'a', 1);
    void full.wait('a').catch(() => undefined);
    await expect(full.wait('a')).rejects.toMatchObject({ code: 'unavailable', cause: expect.anything() });
    advance(1000);
    busy.leave(place ?? {}); // to c, which has held nothing
    await settled();
    advance(patienceMs);
    await inVain;
    const error = (await refused) as { code: string; cause?: unknown };
    expect([error.code, error.cause]).toEqual(['unavailable', undefined]);
  });

  it('are bounded: per tenant, and in all, where the longest queue makes room', async () => {
    const admission = createAdmission({ max: 1, clock, patienceMs, maxWaiting: 4, maxWaitingEach: 3 });
    const order: string[] = [];
    enterAll(admission, 'x', 1);
    for (const who of ['a', 'a', 'a', 'a', 'b', 'c']) queue(admission, who, order);
    await settled();
    expect(order).toEqual(['a refused', 'a refused']);
    expect(admission.figures()).toMatchObject({ waiting: 4, refused: 2 });
  });
});

/** A tenant of the simulation: so many clients, each of which asks again as soon as it is answered, or after a pause. */
interface Client {
  who: string;
  costMs: number;
  pauseMs: number;
}

interface Outcome {
  heldMs: Map<string, number>;
  longestWaitMs: Map<string, number>;
  idleThoughWanted: number;
}

/** Clients against one node, for `lengthMs` of the test's time. Costs are what a statement takes, alone or not. */
async function simulate(max: number, clients: readonly Client[], lengthMs: number): Promise<Outcome> {
  nowMs = 0;
  const admission = createAdmission({ max, clock, patienceMs: 1e9, maxWaiting: 1e6 });
  const heldMs = new Map<string, number>();
  const heldNow = new Map<string, number>();
  const longestWaitMs = new Map<string, number>();
  const events: { atMs: number; run: () => void }[] = [];
  const waiters = new Map<string, number>();
  let idleThoughWanted = 0;
  const at = (atMs: number, run: () => void) => void events.push({ atMs, run });
  const add = (map: Map<string, number>, who: string, n: number) => map.set(who, (map.get(who) ?? 0) + n);

  function ask(client: Client): void {
    const { who, costMs, pauseMs } = client;
    const askedMs = nowMs;
    const begin = (place: Place) => {
      longestWaitMs.set(who, Math.max(longestWaitMs.get(who) ?? 0, nowMs - askedMs));
      add(heldNow, who, 1);
      at(nowMs + costMs, () => {
        add(heldMs, who, costMs);
        add(heldNow, who, -1);
        admission.leave(place);
        at(nowMs + pauseMs, () => ask(client));
      });
    };
    const place = admission.enter(who);
    if (place !== undefined) return begin(place);
    add(waiters, who, 1);
    void admission.wait(who).then((granted) => {
      add(waiters, who, -1);
      begin(granted);
    });
  }

  clients.forEach((client, index) => at(index * 0.01, () => ask(client)));
  while (events.length > 0) {
    events.sort((a, b) => a.atMs - b.atMs);
    const next = events.shift();
    if (next === undefined || next.atMs > lengthMs) break;
    nowMs = next.atMs;
    next.run();
    await Promise.resolve();
    await Promise.resolve();
    await Promise.resolve();
    const total = [...heldNow.values()].reduce((sum, n) => sum + n, 0);
    const free = max - (max >= 5 ? 1 : 0) - total;
    for (const [who, n] of waiters) {
      if (n > 0 && free > 0 && (heldNow.get(who) ?? 0) < 4 * free) idleThoughWanted += 1;
    }
  }
  return { heldMs, longestWaitMs, idleThoughWanted };
}

const flood = (who: string, clients: number, costMs: number): Client[] =>
  Array.from({ length: clients }, () => ({ who, costMs, pauseMs: 0 }));

describe('under load', () => {
  it('a tenant with slow statements and one with quick ones hold connections for the same time', async () => {
    const { heldMs } = await simulate(10, [...flood('slow', 64, 300), ...flood('quick', 64, 3)], 20_000);
    const ratio = (heldMs.get('slow') ?? 0) / (heldMs.get('quick') ?? 1);
    expect(ratio).toBeGreaterThan(0.9);
    expect(ratio).toBeLessThan(1.1);
  });

  it('so do those on a single connection, where no connection is kept free for anybody', async () => {
    const { heldMs } = await simulate(1, [...flood('slow', 20, 50), ...flood('quick', 20, 2)], 20_000);
    const ratio = (heldMs.get('slow') ?? 0) / (heldMs.get('quick') ?? 1);
    expect(ratio).toBeGreaterThan(0.9);
    expect(ratio).toBeLessThan(1.1);
  });

  it('a quiet tenant does not wait at all beside a flood', async () => {
    const quiet = [1, 2].map(() => ({ who: 'quiet', costMs: 2, pauseMs: 90 }));
    const { longestWaitMs } = await simulate(10, [...flood('flood', 64, 500), ...quiet], 20_000);
    expect(longestWaitMs.get('quiet')).toBeLessThan(3);
  });

  it('whoever was busy while others were idle is not made to pay for it', async () => {
    const late = flood('late', 64, 20).map((client) => ({ ...client }));
    nowMs = 0;
    const before = await simulate(10, flood('early', 64, 20), 10_000);
    expect(before.heldMs.get('early')).toBeGreaterThan(0.95 * 8 * 10_000);
    const both = await simulate(10, [...flood('early', 64, 20), ...late], 10_000);
    expect((both.heldMs.get('early') ?? 0) / (both.heldMs.get('late') ?? 1)).toBeCloseTo(1, 1);
  });

  it('nobody starves, no connection idles that somebody may have, and equal demand gets equal shares', async () => {
    const tenant = fc.record({
      clients: fc.integer({ min: 1, max: 20 }),
      costMs: fc.integer({ min: 1, max: 400 }),
      pauseMs: fc.constantFrom(0, 0, 50, 500),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 12 }),
        fc.array(tenant, { minLength: 1, maxLength: 8 }),
        async (max, tenants) => {
          const clients = tenants.flatMap(({ clients: n, costMs, pauseMs }, index) =>
            Array.from({ length: n }, () => ({ who: `t${index}`, costMs, pauseMs })),
          );
          const lengthMs = 15_000;
          const { heldMs, longestWaitMs, idleThoughWanted } = await simulate(max, clients, lengthMs);
          expect(idleThoughWanted).toBe(0);
          // All that wait at once, each at its cost, on the connections there are: nobody waits for ever.
          const work = clients.reduce((sum, { costMs }) => sum + costMs, 0);
          for (const [index] of tenants.entries()) {
            expect(heldMs.get(`t${index}`) ?? 0).toBeGreaterThan(0);
            expect(longestWaitMs.get(`t${index}`)).toBeLessThan(Math.min(lengthMs, 2000 + 3 * work));
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});
