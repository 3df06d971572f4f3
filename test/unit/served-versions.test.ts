import { describe, expect, it } from '@jest/globals';
import { oldestServed, servable, whyNot } from '../../src/control/served-versions.ts';
import { stepsOf } from '../support/ladders.ts';

const range = { oldest: '0004_stock', newest: '0006_prices' };

describe('a schema', () => {
  it.each([
    ['at the oldest version', '0004_stock', null, true],
    ['between', '0005_colours', null, true],
    ['at the newest version', '0006_prices', null, true],
    ['ahead, by steps that nobody must know', '0009_notes', null, true],
    ['behind', '0003_carts', null, false],
    ['behind by the name, not the number, of the step', '0004_a', null, false],
    ['for builds that know an older step', '0006_prices', '0002_users', true],
    ['for builds that know our newest step', '0006_prices', '0006_prices', true],
    ['for builds that know more', '0009_notes', '0007_old_prices_go', false],
    ['of which a step is announced and not applied', '0006_prices', '0007_old_prices_go', false],
    ['behind and for builds that know more', '0003_carts', '0007_old_prices_go', false],
    ['of no version that anybody noted, and so too old', null, null, false],
  ])('%s: at %s, for builds that know %s', (_, version, needs, served) => {
    expect(servable({ version, needs }, range)).toBe(served);
  });

  it('of no noted version is as the last build left it that noted none', () => {
    const before = { oldest: '0002_credentials_and_audit', newest: '0006_prices' };
    expect(servable({ version: null, needs: null }, before)).toBe(true);
    expect(servable({ version: null, needs: null }, { ...before, oldest: '0003_carts' })).toBe(false);
    expect(servable({ version: null, needs: '0007_old_prices_go' }, before)).toBe(false);
  });

  it('that is refused is told why', () => {
    expect(whyNot({ version: '0003_carts', needs: null }, range)).toBe(
      'the schema is at 0003_carts, and this build needs 0004_stock',
    );
    expect(whyNot({ version: '0009_notes', needs: '0007_old_prices_go' }, range)).toBe(
      'the schema is for builds that know 0007_old_prices_go, and this one ends at 0006_prices',
    );
    expect(whyNot({ version: '0005_colours', needs: null }, range)).toBeUndefined();
  });
});

it('what this build needs is a step of its own ladder', async () => {
  expect(await stepsOf('tenant')).toContain(oldestServed);
});
