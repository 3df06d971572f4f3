import { describe, expect, it } from '@jest/globals';
import { check, type Rule } from '../history/checker.ts';
import { type Operation, valueOf } from '../history/operation.ts';

/** Histories of one register of one tenant, in the order in which operations ended. */
const tenant = 'acme';
const register = 'r0';
const text = (number: number) => valueOf(tenant, register, number);
let endMs = 0;

function operation(kind: Operation['kind'], session: string, value: string | undefined): Operation {
  endMs += 1;
  return {
    ...{ kind, session, tenant, register, value, process: 0, outcome: 'ok', servedBy: 'primary' },
    startMs: endMs - 0.5,
    endMs,
  };
}
const write = (session: string, number: number, outcome: Operation['outcome'] = 'ok'): Operation => ({
  ...operation('write', session, text(number)),
  outcome,
});
const read = (session: string, number: number): Operation => operation('read', session, text(number));
const readText = (session: string, value: string | undefined) => operation('read', session, value);

/** What the primary holds in the end. */
const left = (number: number | undefined): Map<string, string> =>
  new Map(number === undefined ? [] : [[`${tenant}/${register}`, text(number)]]);

const rulesBroken = (history: Operation[], final: ReadonlyMap<string, string>): Rule[] =>
  check(history, final).map(({ rule }) => rule);

describe('a history is right', () => {
  it.each<[string, Operation[], Map<string, string>]>([
    ['that is empty', [], left(undefined)],
    ['in which a session reads what it wrote', [write('a', 1), read('a', 1)], left(1)],
    ['in which another session reads the past', [write('a', 1), write('a', 2), read('b', 1)], left(2)],
    ['in which a value is read before its writer is told of it', [read('b', 1), write('a', 1)], left(1)],
    ['in which a write of unknown outcome is never seen', [write('a', 1), write('a', 2, 'unknown')], left(1)],
    ['in which a write of unknown outcome is there', [write('a', 1, 'unknown'), read('a', 1)], left(1)],
    ['in which a write of unknown outcome is seen late', [write('a', 1, 'unknown'), read('a', 0)], left(1)],
    [
      'in which a refused write left nothing',
      [write('a', 1, 'refused'), readText('a', undefined)],
      left(undefined),
    ],
    [
      'in which sessions go on at their own pace',
      [write('a', 1), read('b', 1), read('c', 0), read('c', 1)],
      left(1),
    ],
    ['in which a read failed', [write('a', 1), { ...readText('a', undefined), outcome: 'unknown' }], left(1)],
  ])('%s', (_name, history, final) => {
    expect(rulesBroken(history, final)).toEqual([]);
  });
});

describe('a history is wrong', () => {
  it.each<[string, Rule, Operation[], Map<string, string>]>([
    [
      'the writer reads the past',
      'a session reads what it wrote',
      [write('a', 1), write('a', 2), read('a', 1)],
      left(2),
    ],
    [
      'the writer finds nothing',
      'a session reads what it wrote',
      [write('a', 1), readText('a', undefined)],
      left(1),
    ],
    [
      'a reader goes back',
      'a session never goes back in time',
      [write('a', 1), read('b', 1), read('b', 0)],
      left(1),
    ],
    ['a write is gone', 'no acknowledged write is lost', [write('a', 1), write('a', 2)], left(1)],
    ['a register is gone', 'no acknowledged write is lost', [write('a', 1)], left(undefined)],
    [
      'what somebody read is gone',
      'nothing that was read is lost',
      [write('a', 1, 'unknown'), read('b', 1)],
      left(0),
    ],
    [
      'a value of another tenant is read',
      'no value of another tenant or register',
      [readText('a', valueOf('globex', register, 0))],
      left(0),
    ],
    [
      'a value of another register is read',
      'no value of another tenant or register',
      [readText('a', valueOf(tenant, 'r1', 0))],
      left(0),
    ],
    [
      'a value is read that nobody has sent',
      'no value that nobody wrote',
      [write('a', 1), read('b', 2)],
      left(1),
    ],
    ['a value is no value', 'no value that nobody wrote', [readText('a', 'rubbish')], left(0)],
    [
      'a refused write is read',
      'no value that nobody wrote',
      [write('a', 1, 'refused'), read('b', 1)],
      left(0),
    ],
    [
      'a refused write is there in the end',
      'no value that nobody wrote',
      [write('a', 1, 'refused')],
      left(1),
    ],
  ])('when %s', (_name, rule, history, final) => {
    expect(rulesBroken(history, final)).toEqual([rule]);
  });

  it('and names the operation and the one before it', () => {
    const first = write('a', 1);
    const second = readText('a', undefined);
    expect(check([first, second], left(1))).toMatchObject([{ earlier: first, operation: second }]);
  });
});
