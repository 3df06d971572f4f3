import { describe, expect, it } from '@jest/globals';
import { Registry } from 'prom-client';
import { counters, histograms } from '../../src/telemetry/cells.ts';
import { readFigures } from '../support/exposition.ts';

describe('cells', () => {
  it('are one per combination of labels, and are shown with what has been added', async () => {
    const registry = new Registry();
    const family = counters(registry, { name: 'x_total', help: 'x', labelNames: ['a', 'b'] });
    family.cell('1', '2').n += 1;
    family.cell('1', '2').n += 1;
    family.cell('2', '1').n += 5;
    for (const look of ['first', 'second']) {
      const figures = readFigures(await registry.metrics());
      expect([look, figures.sum('x_total', { a: '1', b: '2' })]).toEqual([look, 2]);
      expect([look, figures.sum('x_total', { a: '2', b: '1' })]).toEqual([look, 5]);
    }
  });

  it('of durations count into the buckets up to their bounds, inclusive', async () => {
    const registry = new Registry();
    const family = histograms(registry, [0.001, 0.01], { name: 'x_seconds', help: 'x', labelNames: ['a'] });
    for (const ms of [0, 1, 1.5, 10, 10.5, 60_000]) family.cell('one').add(ms);
    const text = await registry.metrics();
    expect(text).toContain('# TYPE x_seconds histogram');
    const figures = readFigures(text);
    const upTo = (le: string) => figures.sum('x_seconds_bucket', { a: 'one', le });
    expect([upTo('0.001'), upTo('0.01'), upTo('+Inf')]).toEqual([2, 4, 6]);
    expect(figures.sum('x_seconds_count')).toBe(6);
    expect(figures.sum('x_seconds_sum')).toBeCloseTo(60.023);
  });
});
