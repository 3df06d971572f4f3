import { createSecretKey, randomBytes } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { createConsistencyTokens } from '../../src/http/consistency-token.ts';
import { createTestClock } from '../support/clock.ts';

const key = createSecretKey(randomBytes(32));
const position = { timeline: 3, lsn: 0x16b374d848n };

function tokensOf(system = '7000', clock = createTestClock()) {
  return createConsistencyTokens({
    key,
    systemId: () => system,
    standstillMs: () => 0,
    windowMs: 5000,
    clock,
  });
}

describe('a consistency token', () => {
  it('brings back the position it was made of', () => {
    const tokens = tokensOf();
    expect(tokens.read('a', tokens.sign('a', position))).toEqual(position);
  });

  it('is good in every process that has the key', () => {
    expect(tokensOf().read('a', tokensOf().sign('a', position))).toEqual(position);
  });

  it.each(['', '.', 'x', 'x.y', '7000~3~FFFFFFFF-FFFFFFFF~zzzzzzzz.AAAAAAAAAAAAAAAAAAAAAAAAAAA'])(
    'cannot be made up: %s',
    (token) => {
      expect(() => tokensOf().read('a', token)).toThrow(expect.objectContaining({ code: 'invalid_input' }));
    },
  );

  it('keeps its worth for as long as windows stand still', () => {
    const clock = createTestClock();
    let standstillMs = 0;
    const tokens = createConsistencyTokens({
      key,
      systemId: () => '7000',
      standstillMs: () => standstillMs,
      windowMs: 5000,
      clock,
    });
    const token = tokens.sign('a', position);
    clock.advance(60_000);
    standstillMs = 60_000;
    expect(tokens.read('a', token)).toEqual(position);
    standstillMs = 0;
    expect(tokens.read('a', token)).toBeUndefined();
  });

  it('cannot be changed, or carried to another tenant', () => {
    const token = tokensOf().sign('a', position);
    expect(() => tokensOf().read('b', token)).toThrow(expect.objectContaining({ code: 'invalid_input' }));
    expect(() => tokensOf().read('a', token.replace('16-', '99-'))).toThrow();
    expect(() => tokensOf().read('a', `${token}.x`)).toThrow();
  });

  it('asks for nothing once it is older than the window', () => {
    const clock = createTestClock();
    const tokens = tokensOf('7000', clock);
    const token = tokens.sign('a', position);
    clock.advance(5001);
    expect(tokens.read('a', token)).toBeUndefined();
  });

  it('of another system can only be met by the primary', () => {
    expect(tokensOf('8000').read('a', tokensOf('7000').sign('a', position))).toEqual({
      timeline: 0,
      lsn: 0n,
    });
  });
});
