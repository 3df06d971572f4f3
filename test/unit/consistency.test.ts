import { describe, expect, it } from '@jest/globals';
import { createSightingStore } from '../../src/db/consistency.ts';
import { schemaName, tenantId, type TenantScope } from '../../src/db/index.ts';

function scopeOf(tenant: number, actor: string): TenantScope {
  return {
    tenant: {
      id: tenantId(`00000000-0000-7000-8000-00000000000${tenant}`),
      slug: `t${tenant}`,
      isolation: 'shared',
      schema: schemaName('shared'),
    },
    actor: { kind: 'user', id: actor },
    consistency: { level: { kind: 'session' } },
  };
}

const at = (lsn: bigint, timeline = 1) => ({ lsn, timeline });

describe('what actors have seen', () => {
  function storeAt(windowMs: number) {
    let nowMs = 1000;
    const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs };
    return {
      store: createSightingStore({ windowMs, clock }),
      advance: (ms: number) => {
        nowMs += ms;
      },
    };
  }

  it('is kept for one actor of one tenant, and nobody else', () => {
    const { store } = storeAt(5000);
    store.saw(scopeOf(1, 'a'), at(7n));
    expect(store.find(scopeOf(1, 'a'))).toEqual({ position: at(7n) });
    expect(store.find(scopeOf(1, 'b'))).toBeUndefined();
    expect(store.find(scopeOf(2, 'a'))).toBeUndefined();
  });

  it('never goes back, within a timeline and from one to the next', () => {
    const { store } = storeAt(5000);
    store.saw(scopeOf(1, 'a'), at(7n));
    store.saw(scopeOf(1, 'a'), at(5n));
    expect(store.find(scopeOf(1, 'a'))).toEqual({ position: at(7n) });
    store.saw(scopeOf(1, 'a'), at(2n, 2));
    expect(store.find(scopeOf(1, 'a'))).toEqual({ position: at(2n, 2) });
  });

  it('is forgotten one window after the last', () => {
    const { store, advance } = storeAt(5000);
    store.saw(scopeOf(1, 'a'), at(7n));
    advance(4000);
    store.saw(scopeOf(1, 'a'), at(8n));
    advance(4999);
    expect(store.find(scopeOf(1, 'a'))).toEqual({ position: at(8n) });
    advance(1);
    expect(store.find(scopeOf(1, 'a'))).toBeUndefined();
  });

  it('is kept for as long as replicas cannot be held against the primary', () => {
    let nowMs = 1000;
    let lostAtMs: number | undefined;
    const store = createSightingStore({
      windowMs: 5000,
      clock: { nowMs: () => nowMs, monotonicMs: () => nowMs },
      presentMs: () => lostAtMs ?? nowMs,
    });
    void store.wrote(scopeOf(1, 'writer'), at(7n));
    void store.wrote(scopeOf(1, 'unlucky'), at(5n));
    void store.wrote(scopeOf(1, 'unlucky'), undefined);
    void store.wrote(scopeOf(1, 'unluckier'), undefined);
    lostAtMs = nowMs;
    nowMs += 60_000;
    expect(store.find(scopeOf(1, 'writer'))).toEqual({ position: at(7n) });
    // A write that nobody was told of keeps nobody from reading for longer than its window.
    expect(store.find(scopeOf(1, 'unlucky'))).toEqual({ position: at(5n) });
    expect(store.find(scopeOf(1, 'unluckier'))).toBeUndefined();
    lostAtMs = undefined;
    expect(store.find(scopeOf(1, 'writer'))).toBeUndefined();
  });

  it('is the furthest of what was written and seen, whichever came last', () => {
    const { store } = storeAt(5000);
    void store.wrote(scopeOf(1, 'a'), at(7n));
    expect(store.find(scopeOf(1, 'a'))).toEqual({ position: at(7n) });
    store.saw(scopeOf(1, 'a'), at(5n));
    expect(store.find(scopeOf(1, 'a'))).toEqual({ position: at(7n) });
    store.saw(scopeOf(1, 'a'), at(9n));
    void store.wrote(scopeOf(1, 'a'), at(8n));
    expect(store.find(scopeOf(1, 'a'))).toEqual({ position: at(9n) });
    void store.wrote(scopeOf(1, 'a'), at(2n, 2));
    store.saw(scopeOf(1, 'a'), at(99n, 1));
    expect(store.find(scopeOf(1, 'a'))).toEqual({ position: at(2n, 2) });
  });

  it('is for the primary alone for one window after a write of unknown position, whatever comes after it', () => {
    const { store, advance } = storeAt(5000);
    void store.wrote(scopeOf(1, 'a'), at(7n));
    advance(1000);
    void store.wrote(scopeOf(1, 'a'), undefined);
    expect(store.find(scopeOf(1, 'a'))).toEqual({ position: undefined });
    advance(4000);
    store.saw(scopeOf(1, 'a'), at(9n));
    void store.wrote(scopeOf(1, 'a'), at(11n));
    advance(999);
    expect(store.find(scopeOf(1, 'a'))).toEqual({ position: undefined });
    advance(1);
    expect(store.find(scopeOf(1, 'a'))).toEqual({ position: at(11n) });
  });

  it('takes no more room than the actors of one window need', () => {
    const { store, advance } = storeAt(5000);
    for (let n = 0; n < 1000; n += 1) void store.wrote(scopeOf(1, `actor ${n}`), at(1n));
    advance(5001);
    void store.wrote(scopeOf(1, 'late'), at(1n));
    expect(store.size()).toBe(1);
  });

  it('is nothing when the window is 0', () => {
    const { store } = storeAt(0);
    void store.wrote(scopeOf(1, 'a'), at(1n));
    expect(store.find(scopeOf(1, 'a'))).toBeUndefined();
  });
});
