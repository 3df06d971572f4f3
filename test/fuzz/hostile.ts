import fc from 'fast-check';

/** What comes in from those who mean no good, and from programs that have gone wrong. */

export const hostileText = fc.oneof(
  fc.constantFrom(
    ...['\0', 'a\0b', '\ud800', 'x\udfff', '\ufeff', '\u202e', 'İ', 'ﬀ', '…'.repeat(400)],
    ...[
      "' or 1=1 --",
      "'; drop table users; --",
      '"; select 1',
      '\\',
      '%',
      '_',
      '$1',
      '$$',
      '\\x00',
      '${1}',
      '{{1}}',
    ],
    ...['null', 'undefined', 'NaN', 'true', '', ' ', '\t\r\n', '../../etc/passwd', '<script>', '\\u0000'],
    ...['__proto__', 'constructor', 'toString', 'tenant_id', 'deleted_at', '1e400', '-0', '9'.repeat(400)],
    ...[
      '00000000-0000-0000-0000-000000000000',
      '2026-02-30T00:00:00Z',
      '+275760-09-13T00:00:00.001Z',
      '0000-01-01T00:00:00Z',
    ],
  ),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.nat({ max: 200_000 }).map((length) => 'x'.repeat(length)),
);

export const hostileNumber = fc.constantFrom(
  ...[
    -1,
    0,
    0.1,
    1e21,
    -1e308,
    5e-324,
    Number.MAX_SAFE_INTEGER,
    Number.MIN_SAFE_INTEGER - 1,
    2 ** 31,
    2 ** 63,
  ],
);

/** JSON as it is sent, for what no value of JavaScript stands for. */
export const hostileJson = fc.oneof(
  fc.constantFrom(
    ...['', ' ', 'null', '[]', '""', '0', '{', '{"a":1,}', 'NaN', '1e999', '{"__proto__":{"role":"owner"}}'],
    ...[
      '{"constructor":{"prototype":{}}}',
      '{"sku":"a","sku":"b"}',
      '\ufeff{}',
      '{"a":"\\ud800"}',
      '"\\u0000"',
    ],
    ...['{"priceCents":1e999}', '{"stock":-0}', '{"name":12345678901234567890}'],
  ),
  fc.nat({ max: 5000 }).map((depth) => '['.repeat(depth) + ']'.repeat(depth)),
  fc.nat({ max: 200 }).map((depth) => '{"a":'.repeat(depth) + '1' + '}'.repeat(depth)),
  fc.nat({ max: 3000 }).map((keys) => `{${Array.from({ length: keys }, (_, key) => `"k${key}":1`).join()}}`),
  fc.constant(`{"name":"${'x'.repeat(1_100_000)}"}`),
);

/** Of anything: another type, nothing, too much. */
export const wrongValue: fc.Arbitrary<unknown> = fc.oneof(
  hostileText,
  hostileNumber,
  fc.constantFrom<unknown>(null, true, [], {}, [[]], [null], { a: { b: {} } }),
  fc.array(hostileText, { maxLength: 3 }),
);

/** As a header may hold: visible letters and blanks. */
export const hostileHeader = fc.oneof(
  fc.constantFrom(
    ...['', '*', '""', 'W/"1"', '"1.abcdef"', '"9999999999.______"', ',', '"a', 'null', '0'.repeat(2000)],
  ),
  fc.constantFrom(...['strong', 'any', 'bounded', 'bounded; ms=-1', 'bounded; ms=99999999', 'linearizable']),
  fc.constantFrom(...['a.b', 'a~b~c~d.e', '~~~.', "' or 1=1 --", '../..', '\u00e9\u00ff']),
  fc.string({ maxLength: 300 }).map((text) => text.replaceAll(/[^\x20-\x7e]/g, '').trim()),
);

/** Of paths and queries, not encoded any further. */
export const hostileRaw = fc.constantFrom(
  ...[
    '%00',
    '%',
    '%zz',
    '%E0%A4%A',
    '%ed%a0%80',
    '..',
    '%2e%2e%2f',
    '%2f',
    '__proto__',
    '%22',
    'a%20b',
    "'",
    '+',
    '%c0%af',
  ],
);
