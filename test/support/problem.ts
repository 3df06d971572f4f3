import { expect } from '@jest/globals';
import { problemOf } from './tenantry.ts';
import type { Answer } from './wire.ts';

/**
 * Asserts that an answer is this problem, whole and with nothing besides.
 *
 * @param pointers to the places that are at fault, in any order; left out where they do not matter
 */
export function expectProblem(
  answer: Answer,
  status: number,
  code: string,
  pointers?: readonly string[],
): void {
  const problem = problemOf(answer);
  expect(problem).toEqual({
    type: `urn:tenantry:problem:${code}`,
    title: expect.any(String),
    status,
    detail: expect.any(String),
    code,
    errors: expect.any(Array),
  });
  expect(answer.status).toBe(status);
  if (pointers !== undefined) expect(pointersOf(problem)).toEqual(new Set(pointers));
}

function pointersOf(problem: Record<string, unknown>): Set<string> {
  return new Set((problem['errors'] as { pointer: string }[]).map((error) => error.pointer));
}
