import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { SchemaPlan } from '../../src/control/migrations/plan.ts';
import { type SchemaFacts, wavesOf } from '../../src/control/migrations/waves.ts';
import { schemaName } from '../../src/db/index.ts';

const plan = (slug: string): SchemaPlan => ({
  schema: schemaName(`tenant_${slug}`),
  ladder: 'tenant',
  version: '0001_x',
  pending: ['0002_y'],
  unknown: [],
});
const plans = (count: number) => Array.from({ length: count }, (_, n) => plan(`t${n}`));
const facts = (pages: (n: number) => number, canaries: readonly string[] = []) =>
  new Map<string, SchemaFacts>(
    plans(2000).map(({ schema }, n) => [schema, { canary: canaries.includes(schema), pages: pages(n) }]),
  );
const sizes = (waves: ReturnType<typeof wavesOf>) =>
  waves.map(({ name, schemas }) => [name, schemas.length] as const);

describe('waves', () => {
  it('grow, from a twentieth of all', () => {
    expect(
      sizes(
        wavesOf(
          plans(1000),
          facts(() => 1),
        ),
      ),
    ).toEqual([
      ['wave 1', 50],
      ['wave 2', 200],
      ['wave 3', 750],
    ]);
    expect(sizes(wavesOf(plans(6), new Map()))).toEqual([
      ['wave 1', 4],
      ['wave 2', 2],
    ]);
    expect(wavesOf([], new Map())).toEqual([]);
  });

  it('begin with the smallest tenants', () => {
    const [first] = wavesOf(
      plans(10),
      facts((n) => 100 - n),
    );
    expect(first?.schemas.map(({ schema }) => schema)).toEqual([9, 8, 7, 6].map((n) => `tenant_t${n}`));
  });

  it('come after the canaries: those that are tagged, so many of the smallest, or those that are named', () => {
    const tagged = facts((n) => n, ['tenant_t7', 'tenant_t3']);
    const canariesOf = (choice?: Parameters<typeof wavesOf>[2]) => {
      const [first] = wavesOf(plans(10), tagged, choice);
      return [first?.name, first?.strict, first?.schemas.map(({ schema }) => schema)];
    };
    expect(canariesOf()).toEqual(['canary', true, ['tenant_t3', 'tenant_t7']]);
    expect(canariesOf(2)).toEqual(['canary', true, ['tenant_t0', 'tenant_t1']]);
    expect(canariesOf(['t9'])).toEqual(['canary', true, ['tenant_t9']]);
    expect(canariesOf(0)[0]).toBe('wave 1');
    expect(canariesOf(['nobody'])[0]).toBe('wave 1');
  });

  it('hold each schema once, whatever there is', () => {
    fc.assert(
      fc.property(
        fc.nat(300),
        fc.nat(20),
        fc.array(fc.nat(50), { maxLength: 300 }),
        (count, canary, pages) => {
          const all = plans(count);
          const waves = wavesOf(
            all,
            facts((n) => pages[n] ?? 0),
            canary,
          );
          const held = waves.flatMap(({ schemas }) => schemas.map(({ schema }) => schema));
          expect(held.toSorted()).toEqual(all.map(({ schema }) => schema).toSorted());
        },
      ),
    );
  });
});
