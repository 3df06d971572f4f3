import { describe, expect, it } from '@jest/globals';
import { parseLsn } from '../../src/db/position.ts';
import { assess, createPrimaryHistory } from '../../src/db/nodes.ts';

const maxLagMs = 2000;

function historyOf(...samples: [lsn: bigint, atMs: number][]) {
  const history = createPrimaryHistory();
  for (const [lsn, atMs] of samples) history.add({ lsn, atMs });
  return history;
}

describe('a position in the log', () => {
  it('is read as a number of 64 bits', () => {
    expect(parseLsn('16/B374D848')).toBe(0x16b374d848n);
    expect(parseLsn('0/0')).toBe(0n);
    expect(parseLsn('FFFFFFFF/FFFFFFFF')).toBe(2n ** 64n - 1n);
  });
});

describe('the lag of a replica', () => {
  it('is 0 when it has all that the primary is known to have', () => {
    const history = historyOf([100n, 0], [200n, 1000]);
    const facts = { replayLsn: 200n, receiving: true };
    expect(assess(facts, history, false, maxLagMs, 1100)).toEqual({
      state: 'fresh',
      lagMs: 0,
      provenMs: 100,
      lagBytes: 0n,
    });
  });

  it('stays 0 on an idle primary, however long nothing has been written', () => {
    const history = historyOf([100n, 0], [100n, 60_000]);
    const facts = { replayLsn: 100n, receiving: true };
    expect(assess(facts, history, false, maxLagMs, 60_100)).toMatchObject({ state: 'fresh', lagMs: 0 });
  });

  it('is the age of the newest position it is known to have reached', () => {
    const history = historyOf([100n, 0], [200n, 1000], [300n, 1500]);
    const facts = { replayLsn: 250n, receiving: true };
    expect(assess(facts, history, false, maxLagMs, 1600)).toEqual({
      state: 'fresh',
      lagMs: 600,
      provenMs: 600,
      lagBytes: 50n,
    });
    expect(assess(facts, history, false, maxLagMs, 3001).state).toBe('stale');
  });

  it('is stale when the replica is behind everything that is remembered', () => {
    const facts = { replayLsn: 1n, receiving: true };
    expect(assess(facts, historyOf([100n, 0]), false, maxLagMs, 1).state).toBe('stale');
  });

  it('is unknown, not 0, on a replica that is cut off', () => {
    const facts = { replayLsn: 100n, receiving: false };
    expect(assess(facts, historyOf([100n, 0]), false, maxLagMs, 1).state).toBe('unknown');
  });

  it('is unknown before anything has been seen of the primary or the replica', () => {
    expect(assess({ replayLsn: 1n, receiving: true }, historyOf(), false, maxLagMs, 1).state).toBe('unknown');
    expect(assess(undefined, historyOf([1n, 0]), false, maxLagMs, 1).state).toBe('unknown');
  });

  it('is unknown when the primary has not been sampled for longer than is tolerated', () => {
    const facts = { replayLsn: 100n, receiving: true };
    expect(assess(facts, historyOf([100n, 0]), false, maxLagMs, 2001).state).toBe('unknown');
  });

  it('stands still while the primary is gone, because nothing is committed then', () => {
    const facts = { replayLsn: 100n, receiving: false };
    expect(assess(facts, historyOf([100n, 500]), true, maxLagMs, 500)).toMatchObject({
      state: 'fresh',
      lagMs: 0,
    });
  });
});
