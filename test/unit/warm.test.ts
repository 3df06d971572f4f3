import { describe, expect, it } from '@jest/globals';
import { nextTask, stepsOf, type Waiting } from '../../src/control/tenants/warm.ts';
import { schemaName } from '../../src/db/index.ts';

const wanted = stepsOf([
  { step: '0001_x', checksum: 'a' },
  { step: '0002_y', checksum: 'b' },
]);
let made = 0;
const waiting = (steps: readonly string[], settled = true): Waiting => {
  made += 1;
  return { schema: schemaName(`warm_${String(made).padStart(16, '0')}`), steps, settled };
};
const ready = (settled = true) => waiting(wanted, settled);
const older = (settled = true) => waiting(wanted.slice(0, 1), settled);
const newer = () => waiting([...wanted, '0003_z c']);

describe('what is done next for schemas that wait', () => {
  it('is nothing when there are as many as there should be', () => {
    expect(nextTask([], wanted, 0)).toBeUndefined();
    expect(nextTask([ready(), ready()], wanted, 2)).toBeUndefined();
  });

  it('is to make one when one is missing, whatever else is there', () => {
    expect(nextTask([], wanted, 1)).toEqual({ make: true });
    expect(nextTask([older(), newer(), ready()], wanted, 2)).toEqual({ make: true });
  });

  it('is to drop one that lacks a step, or has one of other content, oldest first', () => {
    for (const steps of [[], wanted.slice(0, 1), wanted.slice(1), ['0001_x a', '0002_y other']]) {
      const outdated = waiting(steps);
      expect(nextTask([ready(), outdated, older()], wanted, 1)).toEqual({ drop: outdated.schema });
    }
  });

  it('is to drop the oldest when there are too many', () => {
    const [first, second] = [ready(), ready()];
    expect(nextTask([first, second], wanted, 1)).toEqual({ drop: first.schema });
    expect(nextTask([first, second], wanted, 0)).toEqual({ drop: first.schema });
  });

  it('is not to drop what another process has just made', () => {
    expect(nextTask([older(false)], wanted, 0)).toBeUndefined();
    expect(nextTask([ready(false), ready(false)], wanted, 1)).toBeUndefined();
    const settled = ready();
    expect(nextTask([older(false), ready(false), settled], wanted, 0)).toEqual({ drop: settled.schema });
  });

  it('leaves alone what a newer build has made', () => {
    expect(nextTask([newer(), waiting(['0001_x other', '0009_z c'])], wanted, 0)).toBeUndefined();
    expect(nextTask([newer(), newer()], wanted, 1)).toEqual({ make: true });
  });
});
