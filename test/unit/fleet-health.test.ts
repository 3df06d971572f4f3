import { describe, expect, it } from '@jest/globals';
import { answersIn, createHealth } from '../../src/control/migrations/health.ts';
import type { ControlDatabase, ReadSession } from '../../src/db/index.ts';

const url = 'http://127.0.0.1:3001/metrics';

function scene(options: { lagMs?: number; queue?: { waiting: number; longestMs: number } } = {}) {
  const { lagMs = 0, queue = { waiting: 0, longestMs: 0 } } = options;
  const state = { ok: 0, failed: 0, reachable: true, nowMs: 0 };
  const session = { query: async () => [queue] } as unknown as ReadSession;
  const health = createHealth({
    database: { read: async (fn: (s: ReadSession) => unknown) => fn(session) } as unknown as ControlDatabase,
    nodes: () => [{ name: 'replica-1', role: 'replica', state: 'fresh', lagMs }],
    maxLagMs: 2000,
    watch: [url],
    clock: { nowMs: () => state.nowMs, monotonicMs: () => state.nowMs },
    read: async () => {
      if (!state.reachable) throw new Error('connect ECONNREFUSED');
      return exposition(state);
    },
  });
  return { state, health };
}

const exposition = ({ ok, failed }: { ok: number; failed: number }) => `# HELP tenantry_http_requests_total x
tenantry_http_requests_total{api="tenant",route="/v1/products",method="GET",status="200"} ${ok}
tenantry_http_requests_total{api="tenant",route="/v1/products",method="POST",status="503"} ${failed}
tenantry_http_request_seconds_count{api="tenant"} 7
`;

describe('the health of what is served', () => {
  it('is good where nothing is wrong', async () => {
    const { health, state } = scene({ lagMs: 1999, queue: { waiting: 3, longestMs: 900 } });
    expect(await health.check()).toBeUndefined();
    state.ok = 1000;
    state.failed = 10;
    expect(await health.check()).toBeUndefined();
  });

  it('is bad when a replica is too far behind, or a lock holds others up', async () => {
    expect(await scene({ lagMs: 2001 }).health.check()).toBe('replica-1 is 2001 ms behind');
    expect(await scene({ queue: { waiting: 20, longestMs: 5 } }).health.check()).toMatch(
      /20 statements wait/,
    );
    expect(await scene({ queue: { waiting: 1, longestMs: 1500 } }).health.check()).toMatch(/for 1500 ms/);
  });

  it('is bad when too many answers since the last look have failed', async () => {
    const { health, state } = scene();
    Object.assign(state, { ok: 5000, failed: 4000 }); // long ago
    expect(await health.check()).toBeUndefined();
    Object.assign(state, { ok: 5095, failed: 4005 });
    expect(await health.check()).toBe(`5 of the last 100 answers of ${url} were failures`);
    state.ok += 1000;
    expect(await health.check()).toBeUndefined();
  });

  it('gathers answers until there are enough to tell', async () => {
    const { health, state } = scene();
    await health.check();
    state.failed = 10;
    expect(await health.check()).toBeUndefined();
    state.ok = 40;
    expect(await health.check()).toBe(`10 of the last 50 answers of ${url} were failures`);
  });

  it('is bad when it cannot be known', async () => {
    const { health, state } = scene();
    state.reachable = false;
    expect(await health.check()).toBe(`${url} cannot be read: connect ECONNREFUSED`);
  });

  it('tells whether clients are being answered', async () => {
    const { health, state } = scene();
    state.ok = 1_000_000; // long ago
    await health.check();
    expect(health.busy()).toBe(false);
    Object.assign(state, { ok: 1_000_020, nowMs: 1000 });
    await health.check();
    expect(health.busy()).toBe(true);
    Object.assign(state, { ok: 1_000_021, nowMs: 2000 });
    await health.check();
    expect(health.busy()).toBe(false);
  });

  it('begins anew after a restart of what is watched', async () => {
    const { health, state } = scene();
    state.ok = 900;
    await health.check();
    Object.assign(state, { ok: 60, failed: 0 });
    expect(await health.check()).toBeUndefined();
    expect(answersIn(exposition(state))).toEqual({ all: 60, failed: 0 });
  });
});
