import { describe, expect, it } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { createGate } from '../../src/control/migrations/gate.ts';
import type { RunEvent } from '../../src/control/migrations/journal.ts';
import type { Wanted } from '../../src/control/migrations/lease.ts';
import { until } from '../support/until.ts';

function scene() {
  const state: { wanted: Wanted; unwell: string | undefined; busy: boolean; nowMs: number } = {
    wanted: 'run',
    unwell: undefined,
    busy: false,
    nowMs: 0,
  };
  const [lost, interruption] = [new AbortController(), new AbortController()];
  const told: string[] = [];
  const gate = createGate({
    lease: { lost: lost.signal, wanted: () => state.wanted },
    health: { check: async () => state.unwell, busy: () => state.busy },
    journal: {
      tell: (event: RunEvent) => void told.push(event.type),
      progress: () => undefined,
      status: async (status) => void told.push(`status ${status}`),
      close: async () => undefined,
    },
    clock: { nowMs: () => state.nowMs, monotonicMs: () => state.nowMs },
    signal: interruption.signal,
  });
  return { state, lost, interruption, told, gate };
}

describe('the gate of a run', () => {
  it('is open when all is well', async () => {
    const { gate, told } = scene();
    await gate.pass();
    expect(gate.stopped()).toBeUndefined();
    expect(told).toEqual([]);
  });

  it('lets nobody pass while the run is paused, says so once, and opens again', async () => {
    const { gate, told, state } = scene();
    state.wanted = 'pause';
    let passed = 0;
    const waiting = [gate.pass(), gate.pass()].map((pass) => pass.then(() => (passed += 1)));
    await until(() => told.includes('paused'));
    expect(passed).toBe(0);
    state.wanted = 'run';
    await Promise.all(waiting);
    expect(told).toEqual(['status paused', 'paused', 'status running', 'resumed']);
  });

  it('closes for good when the run is cancelled, also while it is paused', async () => {
    const { gate, state, told } = scene();
    state.wanted = 'pause';
    const waiting = gate.pass();
    await until(() => told.includes('paused'));
    state.wanted = 'cancel';
    await expect(waiting).rejects.toThrow('the run was cancelled');
    expect(gate.stopped()).toEqual({ stopped: 'cancelled', reason: 'the run was cancelled' });
    state.wanted = 'run';
    await expect(gate.pass()).rejects.toThrow('the run was cancelled');
  });

  it('closes when the process is to end, or the lease is lost', async () => {
    const first = scene();
    first.interruption.abort();
    await expect(first.gate.pass()).rejects.toThrow('the run was interrupted');
    const second = scene();
    second.lost.abort(new Error('Another runner has taken the lease over.'));
    await expect(second.gate.pass()).rejects.toThrow('Another runner');
    expect(second.gate.stopped()?.stopped).toBe('halted');
  });

  it('waits while something is unwell, and opens when it is well again', async () => {
    const { gate, state, told } = scene();
    state.unwell = 'replica-1 is 9000 ms behind';
    const waiting = gate.pass();
    await until(() => told.includes('unwell'));
    state.unwell = undefined;
    state.nowMs += 2000;
    await waiting;
    expect(told).toEqual(['unwell', 'well']);
  });

  it('halts the run when it stays unwell', async () => {
    const { gate, state, told } = scene();
    state.unwell = 'replica-1 is 9000 ms behind';
    const waiting = gate.pass();
    await until(() => told.includes('unwell'));
    state.nowMs += 31_000;
    await expect(waiting).rejects.toThrow('replica-1 is 9000 ms behind, for 30 s');
    expect(gate.stopped()?.stopped).toBe('halted');
  });

  it('makes one try at a time while clients are answered, and rests after each; else it does not', async () => {
    const { gate, state } = scene();
    let [atWork, most] = [0, 0];
    // By the gate's own clock a try takes 25 ms.
    const attempt = async () => {
      atWork += 1;
      most = Math.max(most, atWork);
      await sleep(5);
      state.nowMs += 25;
      atWork -= 1;
    };
    const all = async () => {
      most = 0;
      const beganMs = performance.now();
      await Promise.all([1, 2, 3, 4].map(() => gate.giveWay(attempt)));
      return { most, tookMs: performance.now() - beganMs };
    };
    expect((await all()).most).toBe(4);
    state.busy = true;
    const busy = await all();
    expect(busy.most).toBe(1);
    expect(busy.tookMs).toBeGreaterThan(4 * 2 * 25 - 10);
    gate.stop('cancelled', 'over');
    expect((await all()).most).toBe(4);
  });

  it('tells what a try throws, and the next one has its turn', async () => {
    const { gate, state } = scene();
    state.busy = true;
    const failed = gate.giveWay(() => Promise.reject(new Error('no lock')));
    const next = gate.giveWay(async () => 'done');
    await expect(failed).rejects.toThrow('no lock');
    expect(await next).toBe('done');
  });

  it('keeps the first reason', async () => {
    const { gate } = scene();
    gate.stop('halted', 'tenant_x failed');
    gate.stop('cancelled', 'later');
    await expect(gate.pass()).rejects.toThrow('tenant_x failed');
  });
});
