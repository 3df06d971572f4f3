import { describe, expect, it } from '@jest/globals';
import { createPinStore } from '../../src/db/consistency.ts';
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
    consistency: { level: 'session' },
  };
}

describe('the pin store', () => {
  function pinsAt(windowMs: number) {
    let nowMs = 1000;
    const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs };
    return {
      pins: createPinStore({ windowMs, clock }),
      advance: (ms: number) => {
        nowMs += ms;
      },
    };
  }

  it('pins one actor of one tenant, and nobody else', () => {
    const { pins } = pinsAt(5000);
    pins.pin(scopeOf(1, 'a'));
    expect(pins.pinnedUntilMs(scopeOf(1, 'a'))).toBe(6000);
    expect(pins.pinnedUntilMs(scopeOf(1, 'b'))).toBeUndefined();
    expect(pins.pinnedUntilMs(scopeOf(2, 'a'))).toBeUndefined();
  });

  it('counts the window from the last write', () => {
    const { pins, advance } = pinsAt(5000);
    pins.pin(scopeOf(1, 'a'));
    advance(4000);
    pins.pin(scopeOf(1, 'a'));
    expect(pins.pinnedUntilMs(scopeOf(1, 'a'))).toBe(10_000);
  });

  it('forgets actors whose window is over, so that it stays small', () => {
    const { pins, advance } = pinsAt(5000);
    for (let n = 0; n < 1000; n += 1) pins.pin(scopeOf(1, `actor ${n}`));
    advance(5001);
    pins.pin(scopeOf(1, 'late'));
    expect(pins.size()).toBe(1);
  });

  it('pins nobody when the window is 0', () => {
    const { pins } = pinsAt(0);
    pins.pin(scopeOf(1, 'a'));
    expect(pins.pinnedUntilMs(scopeOf(1, 'a'))).toBeUndefined();
  });
});
