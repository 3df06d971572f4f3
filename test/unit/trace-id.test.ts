import { describe, expect, it } from '@jest/globals';
import { traceIdOf } from '../../src/http/trace-id.ts';

const id = '4bf92f3577b34da6a3ce929d0e0e4736';

describe('a traceparent', () => {
  it.each([`00-${id}-00f067aa0ba902b7-01`, `cc-${id}-00f067aa0ba902b7-01-what-the-future-brings`])(
    'names a trace: %s',
    (header) => expect(traceIdOf(header)).toBe(id),
  );

  it.each([
    undefined,
    '',
    id,
    `ff-${id}-00f067aa0ba902b7-01`,
    `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
    `00-${id}-${'0'.repeat(16)}-01`,
    `00-${id.toUpperCase()}-00f067aa0ba902b7-01`,
    [`00-${id}-00f067aa0ba902b7-01`],
  ])('that is not well-formed names none: %s', (header) => expect(traceIdOf(header)).toBeUndefined());
});
